//! (being written) Which way of multiplying is fastest here.
