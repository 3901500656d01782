//! README and `docs/`: every link between them leads somewhere, the metrics, routes and errors that they
//! name exist, and all routes and errors are named.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use reqwest::Method;
use serde_json::json;
use sockd::wire::ErrorCode;

use super::layers;
use crate::support::{
    jwt,
    sockd::{INTERNAL_SECRET, Sockd},
};

/// The variants of `ErrorCode`, with their statuses, and the table in the documentation, are the same.
#[test]
fn every_error_is_documented_with_its_status() {
    let wire = text("src/wire.rs");
    let variants = between(&wire, "pub enum ErrorCode {", "}");
    let variants = variants
        .split(',')
        .map(str::trim)
        .filter(|name| !name.is_empty());
    let known: BTreeSet<(u16, String)> = variants
        .map(|variant| {
            let code = variant
                .chars()
                .enumerate()
                .fold(String::new(), |mut code, (at, c)| {
                    if at > 0 && c.is_uppercase() {
                        code.push('_');
                    }
                    code.push(c.to_ascii_uppercase());
                    code
                });
            let parsed = serde_json::from_value::<ErrorCode>(json!(code));
            (parsed.expect("a code").status(), code)
        })
        .collect();
    let page = text("docs/internal-api.md");
    let rows = between(&page, "## Errors\n", "\n## ");
    let rows = rows
        .lines()
        .filter_map(|row| row.strip_prefix("| ")?.split(" |").next());
    let documented: BTreeSet<(u16, String)> = rows
        .filter_map(|answer| {
            let (status, codes) = answer.split_once(' ')?;
            let status = status.parse().ok()?;
            let codes = codes.split('`').skip(1).step_by(2);
            let codes =
                codes.filter(|code| code.chars().all(|c| c.is_ascii_uppercase() || c == '_'));
            Some(
                codes
                    .map(move |code| (status, code.to_owned()))
                    .collect::<Vec<_>>(),
            )
        })
        .flatten()
        .collect();
    assert_eq!(documented, known);
}

/// A server has every documented route, and its code names no other.
#[tokio::test]
async fn every_route_is_documented_and_exists() {
    let page = text("docs/internal-api.md");
    let routes: Vec<(&str, &str)> = between(&page, "| route | |", "\n\n")
        .split('`')
        .skip(1)
        .step_by(2)
        .map(|route| route.split_once(' ').expect("a method and a path"))
        .collect();
    assert!(routes.len() > 8, "{routes:?}");
    let sockd = Sockd::start().await;
    for (method, path) in &routes {
        let method: Method = method.parse().expect("a method");
        let path = path.replace("ID", &jwt::user());
        let request = sockd.request(method, &path).bearer_auth(INTERNAL_SECRET);
        let status = request.send().await.expect("the server answers").status();
        assert!(status != 404, "{path} is documented and does not exist");
    }
    let sources = layers::sources().collect::<String>();
    let literals = sources.split('"').filter(|literal| {
        let is_path = literal
            .chars()
            .all(|c| c.is_ascii_lowercase() || "/-".contains(c));
        is_path && literal.starts_with("/internal/") && *literal != "/internal/"
    });
    let literals: BTreeSet<&str> = literals.collect();
    assert!(literals.len() > 4, "{literals:?}");
    for literal in literals {
        let is_documented = routes.iter().any(|(_, path)| path.starts_with(literal));
        assert!(is_documented, "{literal} is not documented");
    }
}

#[test]
fn links_between_the_documents_lead_somewhere() {
    let documents = documents();
    let mut links = 0;
    for (path, text) in &documents {
        for target in text.split("](").skip(1) {
            let target = target.split(')').next().expect("a part");
            if target.contains("://") {
                continue;
            }
            links += 1;
            let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
            let file = if file.is_empty() {
                path.clone()
            } else {
                path.parent().expect("a folder").join(file)
            };
            let file = file.canonicalize();
            let file = file.unwrap_or_else(|why| panic!("{path:?}: {target}: {why}"));
            if anchor.is_empty() {
                continue;
            }
            let text = documents.get(&file).expect("a document");
            let has_it = headings(text).any(|heading| heading == anchor);
            assert!(has_it, "{path:?}: {target}: there is no such heading");
        }
    }
    assert!(links > 10, "{links}");
}

#[test]
fn documented_metrics_exist() {
    let sources: String = layers::sources().collect();
    let mut named = 0;
    for (path, text) in documents() {
        for name in text.split('`').skip(1).step_by(2) {
            let name = name.split('{').next().expect("a part");
            let is_word = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
            if !name.starts_with("sockd_") || !name.chars().all(is_word) {
                continue;
            }
            named += 1;
            let bare = ["_bucket", "_sum", "_count"]
                .iter()
                .find_map(|end| name.strip_suffix(end))
                .unwrap_or(name);
            let exists = [name, bare]
                .iter()
                .any(|name| sources.contains(&format!("\"{name}\"")));
            assert!(exists, "{path:?} names {name}, which is no metric");
        }
    }
    assert!(named > 5, "{named}");
}

fn text(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The part of a text between one mark and the next different one.
fn between<'a>(text: &'a str, start: &str, end: &str) -> &'a str {
    let (_, rest) = text
        .split_once(start)
        .unwrap_or_else(|| panic!("no {start:?}"));
    rest.split(end).next().unwrap_or(rest)
}

/// README.md, CHANGELOG.md, CONTRIBUTING.md and the files of `docs/`, by their full paths.
pub(super) fn documents() -> BTreeMap<PathBuf, String> {
    let repository = Path::new(env!("CARGO_MANIFEST_DIR"));
    let files = [repository.to_owned(), repository.join("docs")]
        .into_iter()
        .flat_map(|folder| fs::read_dir(folder).expect("a folder"))
        .map(|entry| entry.expect("a file").path());
    files
        .filter(|path| path.extension().is_some_and(|extension| extension == "md"))
        .map(|path| {
            let text = fs::read_to_string(&path).expect("text");
            (path.canonicalize().expect("a path"), text)
        })
        .collect()
}

/// The anchors of a document's headings, as GitHub makes them.
fn headings(text: &str) -> impl Iterator<Item = String> {
    let mut in_code = false;
    let lines = text.lines().filter(move |line| {
        in_code ^= line.starts_with("```");
        !in_code && line.starts_with('#')
    });
    lines.map(|line| {
        let title = line.trim_start_matches('#').trim().to_lowercase();
        let kept = title
            .chars()
            .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
        kept.map(|c| if c == ' ' { '-' } else { c }).collect()
    })
}
