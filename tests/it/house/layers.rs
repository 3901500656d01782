//! The layers that `src/lib.rs` draws, held against every path in every file of `src`.

mod paths;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use self::paths::{NamedPath, paths};

/// Other crates, and the modules that may name them.
const FOREIGN: [(&[&str], &[&str]); 2] = [
    (&["axum"], &["gateway", "http", "server"]),
    (&["redis"], &["redis", "session", "bus", "doctor"]),
];

/// What commands other than `serve` may not use: nodes are behind `client`, Redis behind `session`.
const NOT_FOR_COMMANDS: [&str; 7] = ["redis", "bus", "hub", "node", "gateway", "http", "server"];

/// A file of the crate.
struct File {
    /// Below `src`, without its extension: `["bus", "redis"]`.
    module: Vec<String>,
    paths: BTreeSet<NamedPath>,
    source: String,
}

#[test]
fn the_map_in_lib_rs_has_every_module_once() {
    let declared: BTreeSet<_> = files().iter().map(|file| file.top().to_owned()).collect();
    let drawn: BTreeSet<_> = layers().into_keys().collect();
    let programs = ["lib", "main"].map(str::to_owned);
    let declared: BTreeSet<_> = declared.difference(&programs.into()).cloned().collect();
    assert_eq!(drawn, declared);
}

#[test]
fn each_layer_uses_only_those_above_it() {
    let layers = layers();
    holds(|file, path| {
        let used = file.module_of(path)?;
        let own = file.top();
        if own == used || ["main", "lib"].contains(&own) {
            return None;
        }
        let Some(layer) = layers.get(&used) else {
            return Some("no module in the map of src/lib.rs".to_owned());
        };
        let own_layer = layers[own];
        let is_above = *layer < own_layer || (*layer, own_layer) == (1, 1);
        if own == "client" && *layer != 1 {
            return Some("`client` uses only layer 1".to_owned());
        }
        (!is_above).then(|| format!("`{own}` is of layer {own_layer}, `{used}` of layer {layer}"))
    });
}

#[test]
fn only_some_modules_name_the_big_crates() {
    holds(|file, path| {
        let first = path.segments[0].as_str();
        if !path.is_foreign && file.has_module(first) {
            return None;
        }
        let (_, allowed) = FOREIGN.iter().find(|(crates, _)| crates.contains(&first))?;
        let is_allowed = allowed.contains(&file.top());
        (!is_allowed).then(|| format!("only {allowed:?} may name the crate `{first}`"))
    });
}

#[test]
fn commands_reach_nodes_and_redis_only_as_they_may() {
    holds(|file, path| {
        let serves = file.module.get(1).is_some_and(|module| module == "serve");
        if file.top() != "cli" || serves {
            return None;
        }
        let used = file.module_of(path)?;
        NOT_FOR_COMMANDS
            .contains(&used.as_str())
            .then(|| "commands reach nodes through `client` and Redis through `session`".to_owned())
    });
}

/// Fails with every path that the rule objects to.
fn holds(rule: impl Fn(&File, &NamedPath) -> Option<String>) {
    let mut broken = Vec::new();
    for file in files() {
        for path in &file.paths {
            if let Some(why) = rule(&file, path) {
                let name = file.module.join("/");
                broken.push(format!(
                    "src/{name}.rs: {}: {why}",
                    path.segments.join("::")
                ));
            }
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

impl File {
    fn top(&self) -> &str {
        &self.module[0]
    }

    /// The module right below the crate's root that a path leads to, if it leads out at all.
    fn module_of(&self, path: &NamedPath) -> Option<String> {
        if path.is_foreign {
            return None;
        }
        let mut segments = path.segments.iter();
        let first = segments.next()?;
        if first == "crate" || self.top() == "main" && first == "sockd" {
            return segments.next().cloned();
        }
        let mut module = [self.module.clone(), path.inside.clone()].concat();
        if self.top() == "lib" || self.top() == "main" {
            module.remove(0);
        }
        let mut next = Some(first);
        while next.is_some_and(|segment| segment == "super") {
            module.pop();
            next = segments.next();
        }
        let leads_out = first == "super" && module.is_empty();
        next.filter(|_| leads_out).cloned()
    }

    /// Whether a name is one of this file's modules or comes from one of the crate's.
    fn has_module(&self, name: &str) -> bool {
        let declared = self.source.contains(&format!("mod {name};"));
        let imported = self.paths.iter().any(|path| {
            let last = path.segments.last().is_some_and(|last| last == name);
            let own = ["crate", "self", "super"].contains(&path.segments[0].as_str());
            last && own
        });
        declared || imported
    }
}

/// The numbers that the map in `src/lib.rs` gives to the modules.
fn layers() -> BTreeMap<String, usize> {
    let text = fs::read_to_string(source_folder().join("lib.rs")).expect("src/lib.rs");
    let mut layers = BTreeMap::new();
    let mut layer = 0;
    for line in text.lines().filter_map(|line| line.strip_prefix("//! ")) {
        let number = line.split_once(". ").map(|(number, _)| number.parse());
        if let Some(Ok(number)) = number {
            layer = number;
        }
        for name in line.split("[`").skip(1) {
            let (name, _) = name.split_once("`]").expect("a link to a module");
            let other = layers.insert(name.to_owned(), layer);
            assert_eq!(other, None, "`{name}` stands twice in the map");
        }
    }
    layers
}

fn files() -> Vec<File> {
    let mut found = Vec::new();
    let mut folders = vec![source_folder()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }
    assert!(found.len() > 50, "only {} files in src", found.len());
    found.iter().map(|path| read(path)).collect()
}

/// All of the program's code, a file each.
pub fn sources() -> impl Iterator<Item = String> {
    files().into_iter().map(|file| file.source)
}

fn read(path: &Path) -> File {
    let below = path.strip_prefix(source_folder()).expect("below src");
    let module = below.with_extension("");
    let module = module
        .iter()
        .map(|part| part.to_string_lossy().into_owned());
    let source = fs::read_to_string(path).expect("a source file");
    File {
        module: module.collect(),
        paths: paths(&source),
        source,
    }
}

fn source_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}
