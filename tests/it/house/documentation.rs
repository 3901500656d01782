//! README and `docs/`: every link between them leads somewhere, and every setting, metric and route
//! that they name exists.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use super::layers;

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

/// README.md, CHANGELOG.md, CONTRIBUTING.md and the files of `docs/`, by their full paths.
fn documents() -> BTreeMap<PathBuf, String> {
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
