//! Ranks as threads: what collectives compute, what is booked, and that nothing hangs.
mod collectives;
mod disagreement;
mod mesh;
mod started;
mod tensors;
