//! How many open files clients may use, so that some are left for callers, Redis and the log.

use rustix::process::{Resource, getrlimit};

/// The process's limit; `None` means no limit.
pub fn limit() -> Option<u64> {
    getrlimit(Resource::Nofile).current
}

/// How the process's limit of open files is divided. The rest is for the process itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OpenFiles {
    /// A connection whose file descriptor is below this number may be a client's. The system gives each new
    /// file the lowest free number, so nothing has to be counted.
    pub clients: u64,
    /// How many connections above it there may be, for callers and probes.
    pub callers: u64,
}

impl OpenFiles {
    /// Divides the limit of this process.
    pub fn of_process() -> Self {
        Self::within(limit())
    }

    /// Divides this limit; `None` means no limit.
    pub fn within(limit: Option<u64>) -> Self {
        let limit = limit.unwrap_or(u64::MAX);
        let reserve = (limit / 8).clamp(64, 1_024).min(limit / 2);
        Self {
            clients: limit - reserve,
            callers: reserve / 2,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_eighth_is_reserved_within_bounds() {
        let divided = |limit| {
            let files = OpenFiles::within(limit);
            (files.clients, files.callers)
        };
        assert_eq!(divided(Some(1_024)), (896, 64));
        assert_eq!(divided(Some(1 << 20)), ((1 << 20) - 1_024, 512));
        assert_eq!(divided(Some(100)), (50, 25));
        assert_eq!(divided(Some(0)), (0, 0));
        assert_eq!(divided(None), (u64::MAX - 1_024, 512));
    }
}
