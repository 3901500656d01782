//! The commented file: every setting, its default, and the reason for it.

use super::{
    kind::Shape,
    setting::{Fallback, Key},
    table::SETTINGS,
};

const HEAD: &str = "\
# Every setting of sockd with its default. Nothing here is in force until its `#` is taken off.
#
# The file is read from --config, else SOCKD_CONFIG, else ./sockd.toml, else /etc/sockd/sockd.toml.
# The environment, over a .env file in the working directory, goes over this file, and flags go over
# the environment. Paths in this file are relative to it.
#
# `sockd config check` tells all that is wrong; `sockd config show` tells what holds and why.
";

/// The text of `config.example.toml`; as it is, it changes nothing.
pub fn example() -> String {
    let mut text = HEAD.to_owned();
    let mut section = "";
    for key in SETTINGS {
        text.push('\n');
        if key.section != section {
            section = key.section;
            text += &format!("[{section}]\n");
        }
        let name = key.name;
        let variables = [&[key.variable().as_str()], key.familiar]
            .concat()
            .join(", ");
        let value = match key.fallback {
            Fallback::Is(default) => format!("#{name} = {}", literal(key, default)),
            Fallback::WithRedis(default) => {
                format!("# Once Redis is used: {name} = {}", literal(key, default))
            }
            Fallback::Unset(example) => format!("# Not set; for example: {name} = {example}"),
        };
        text += &format!("#{}\n# Environment: {variables}\n{value}\n", key.why);
    }
    text
}

fn literal(key: &Key, default: &str) -> String {
    match key.shape {
        Shape::Boolean | Shape::Integer => default.to_owned(),
        Shape::List => {
            let quoted: Vec<_> = default.split(',').map(|part| format!("{part:?}")).collect();
            format!("[{}]", quoted.join(", "))
        }
        Shape::Text | Shape::ListOrText => format!("{default:?}"),
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, fs};

    use super::*;
    use crate::config::{Config, Flag, Sources, load};

    #[test]
    fn example_holds_every_key_and_changes_nothing() {
        let text = example();
        for key in SETTINGS {
            let name = key.name;
            assert!(text.contains(&format!("{name} = ")), "{}", key.path);
            let is_unset = matches!(key.fallback, Fallback::Unset(_));
            assert!(key.default().is_some() != is_unset, "{}", key.path);
        }
        assert_eq!(shown(&config(&text)), shown(&config("")));
    }

    #[test]
    fn example_with_every_default_uncommented_is_the_default() {
        let uncomment = |line: &str| {
            let is_default = line.starts_with('#') && !line.starts_with("# ");
            line[usize::from(is_default)..].to_owned()
        };
        let text: Vec<_> = example().lines().map(uncomment).collect();
        let text = text.join("\n");
        assert!(text.contains("\nport = 3000\n"));
        assert_eq!(shown(&config(&text)), shown(&config("")));
    }

    fn shown(config: &Config) -> String {
        format!("{config:#?}")
    }

    fn config(text: &str) -> Config {
        let directory = tempfile::tempdir().expect("a folder for temporary files");
        fs::write(directory.path().join("sockd.toml"), text).expect("a new file");
        let secret = |key| Flag {
            name: "--dev",
            key,
            value: "a-secret-of-more-than-thirty-two-bytes".to_owned(),
        };
        let sources = Sources {
            env: BTreeMap::new(),
            directory: directory.path().to_owned(),
            flags: vec![secret("auth.secret"), secret("internal.secret")],
            ..Sources::default()
        };
        let loaded = load(&sources).and_then(|settings| settings.resolve());
        loaded
            .unwrap_or_else(|problems| panic!("{problems}"))
            .config
    }
}
