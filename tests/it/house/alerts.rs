//! The alert rules, as Prometheus evaluates them: each fires in its case and is silent on healthy nodes.

use std::{
    collections::BTreeSet,
    process::{Command, Output},
};

use super::metrics::{named, repository};

const RULES: &str = "deploy/prometheus/sockd.rules.yml";
const CASES: &str = "tests/alerts.yml";

fn promtool(arguments: &[&str]) -> Output {
    let mut promtool = Command::new("promtool");
    promtool
        .args(arguments)
        .current_dir(env!("CARGO_MANIFEST_DIR"));
    promtool
        .output()
        .expect("promtool starts: run tests/run, which installs it")
}

#[test]
fn each_alert_fires_in_its_case_and_not_on_healthy_nodes() {
    for arguments in [["check", "rules", RULES], ["test", "rules", CASES]] {
        let done = promtool(&arguments);
        let said = [done.stdout, done.stderr].concat();
        let said = String::from_utf8_lossy(&said);
        assert!(done.status.success(), "{said}");
    }
    let (rules, cases) = (repository(RULES), repository(CASES));
    let mut cases = cases.split("\n  - name: ").skip(1);
    let healthy = cases.next().expect("a case");
    assert!(healthy.starts_with("healthy\n"), "{healthy}");
    let metrics = |text: &str| named(text).into_iter().map(|(name, _)| name);
    let looked_at: BTreeSet<_> = metrics(&rules).collect();
    let shown: BTreeSet<_> = metrics(healthy).collect();
    assert_eq!(looked_at, shown, "the series of the healthy nodes");
    let alerts = rules
        .lines()
        .filter_map(|line| line.trim().strip_prefix("- alert: "));
    let alerts: Vec<_> = alerts.collect();
    let names = cases.map(|case| {
        let name = case.lines().next().expect("a name");
        let fires = format!("exp_samples: [{{ labels: '{{alertname=\"{name}\"}}'");
        assert!(case.contains(&fires), "{case}");
        name
    });
    assert_eq!(names.collect::<Vec<_>>(), alerts);
}
