//! What the process uses, from `/proc`.

use procfs::{ProcResult, process::Process};

use super::{
    PROCESS_CPU, PROCESS_MAX_FDS, PROCESS_OPEN_FDS, PROCESS_RESIDENT_MEMORY, PROCESS_START_TIME,
    PROCESS_THREADS, PROCESS_VIRTUAL_MEMORY, raise,
};

/// Updates the metrics; if `/proc` cannot be read, they stay as they are.
pub(super) fn update() {
    let updated: ProcResult<()> = (|| {
        let process = Process::myself()?;
        let stat = process.stat()?;
        let ticks = procfs::ticks_per_second() as f64;
        raise(&PROCESS_CPU, (stat.utime + stat.stime) as f64 / ticks);
        PROCESS_RESIDENT_MEMORY.set((stat.rss * procfs::page_size()) as i64);
        PROCESS_VIRTUAL_MEMORY.set(stat.vsize as i64);
        PROCESS_THREADS.set(stat.num_threads);
        PROCESS_OPEN_FDS.set(process.fd_count()? as i64);
        let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
        PROCESS_MAX_FDS.set(limit.current.unwrap_or(0) as i64);
        let started = procfs::boot_time_secs()? as f64 + stat.starttime as f64 / ticks;
        PROCESS_START_TIME.set(started);
        Ok(())
    })();
    if let Err(error) = updated {
        tracing::debug!(%error, "cannot read /proc");
    }
}
