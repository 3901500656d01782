//! The repository itself: the layers of the crate, files that the program writes, and the documents.

mod alerts;
mod commands;
mod documentation;
mod examples;
pub mod layers;
mod metrics;
mod repository;
