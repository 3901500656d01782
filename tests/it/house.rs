//! The repository itself: the layers of the crate, and files that the program writes.

mod documentation;
mod layers;
mod repository;
