//! Redis in each of its forms, its outages and refusals, and several nodes on one Redis.

mod connections;
mod large_events;
mod late;
mod misplaced;
mod nodes;
mod outage;
mod refusals;
mod topologies;
mod versions;
