//! What an answer must hold to, the same for the reader's and for ours.
