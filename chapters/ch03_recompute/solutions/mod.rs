//! An answer to each exercise of chapter 3, and why it is one.
