//! The exercises of chapter 3: to fill in, or to find the bug in.
