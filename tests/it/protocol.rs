//! Socket.IO as clients see it: opening, packets, upgrades, CORS, limits, and the reference servers
//! it is compared with.

mod capacity;
mod cors;
mod differential;
mod endings;
mod engine;
mod exactness;
mod garbage;
mod heartbeat;
mod limits;
mod memory;
mod namespace;
mod official;
mod upgrade;
