//! How many sockets the limit on open files allows.

use super::Finding;
use crate::open_files::{OpenFiles, limit};

/// Below this many sockets a limit is more likely an oversight than a choice.
const FEW: u64 = 10_000;

pub(super) fn examine() -> Finding {
    judge(limit())
}

/// `None` is no limit at all.
fn judge(limit: Option<u64>) -> Finding {
    let Some(limit) = limit else {
        return Finding::ok("files", "no limit on open files");
    };
    let sockets = OpenFiles::within(Some(limit)).clients;
    let found = format!("a limit of {limit} open files, enough for about {sockets} sockets");
    if sockets >= FEW {
        return Finding::ok("files", found);
    }
    let remedy = "raise it: LimitNOFILE=1048576 in the unit, or `ulimit -n 1048576`; this is the limit of the shell that runs the doctor";
    Finding::warn("files", found, remedy)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Verdict;

    #[test]
    fn a_low_limit_is_a_warning_with_the_number_of_sockets() {
        let finding = judge(Some(1_024));
        assert_eq!(finding.verdict, Verdict::Warn);
        assert!(
            finding.found.contains("about 896 sockets"),
            "{}",
            finding.found
        );
        assert_eq!(judge(Some(1 << 20)).verdict, Verdict::Ok);
        assert_eq!(judge(None).verdict, Verdict::Ok);
        assert_eq!(judge(Some(0)).verdict, Verdict::Warn);
    }
}
