//! The repository itself: the layers of the crate, and files that the program writes.

mod documentation;
pub mod layers;
mod metrics;
mod repository;
