//! The paths that a Rust file names, in `use` declarations, in code and inside of macros.

use std::{collections::BTreeSet, iter::Peekable, str::FromStr};

use proc_macro2::{TokenStream, TokenTree, token_stream::IntoIter};

/// A path as far as its tokens show it.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct NamedPath {
    /// Written with a leading `::`, so that it can only be another crate's.
    pub is_foreign: bool,
    pub segments: Vec<String>,
    /// The inline modules of the file that it stands in.
    pub inside: Vec<String>,
}

/// All paths of more than one segment, and those of one that a `use` declares.
pub fn paths(source: &str) -> BTreeSet<NamedPath> {
    let stream = TokenStream::from_str(source).expect("the file is Rust");
    let mut paths = BTreeSet::new();
    collect(stream, &[], &mut paths);
    paths
}

/// What is no path, though another crate's may follow it: `use ::redis::Value`.
const KEYWORDS: [&str; 16] = [
    "as", "async", "const", "dyn", "else", "for", "if", "impl", "in", "let", "match", "mut", "pub",
    "return", "use", "where",
];

type Tokens = Peekable<IntoIter>;

fn collect(stream: TokenStream, inside: &[String], paths: &mut BTreeSet<NamedPath>) {
    let mut tokens = stream.into_iter().peekable();
    let mut before = String::new();
    while let Some(token) = tokens.next() {
        let text = token.to_string();
        match token {
            TokenTree::Ident(_) if !KEYWORDS.contains(&text.as_str()) => {
                let mut tree = Tree::new(false, inside);
                tree.segments.push(text.clone());
                let is_used = before == "use";
                let is_module = before == "mod";
                tree.follow(&mut tokens, is_used, paths);
                if is_module && let Some(TokenTree::Group(body)) = tokens.peek() {
                    let inside = [inside, std::slice::from_ref(&text)].concat();
                    collect(body.stream(), &inside, paths);
                    tokens.next();
                }
            }
            TokenTree::Punct(punct) if punct.as_char() == ':' && is_colon(&mut tokens) => {
                tokens.next();
                // After `>` comes an item of a type, not a crate.
                let is_foreign = before != ">";
                let mut tree = Tree::new(is_foreign, inside);
                if let Some(TokenTree::Ident(first)) = tokens.peek() {
                    tree.segments.push(first.to_string());
                    tokens.next();
                    if is_foreign {
                        tree.follow(&mut tokens, true, paths);
                    }
                }
            }
            TokenTree::Group(group) => collect(group.stream(), inside, paths),
            _ => {}
        }
        before = text;
    }
}

/// A path that is being read; in a `use` it may branch.
struct Tree<'a> {
    is_foreign: bool,
    segments: Vec<String>,
    inside: &'a [String],
}

impl<'a> Tree<'a> {
    fn new(is_foreign: bool, inside: &'a [String]) -> Self {
        Self {
            is_foreign,
            segments: Vec::new(),
            inside,
        }
    }

    /// Reads on after the first segment.
    fn follow(mut self, tokens: &mut Tokens, alone: bool, paths: &mut BTreeSet<NamedPath>) {
        let alone = alone || self.segments.len() > 1;
        while next_is_colons(tokens) {
            tokens.next();
            tokens.next();
            match tokens.peek() {
                Some(TokenTree::Ident(segment)) => {
                    self.segments.push(segment.to_string());
                    tokens.next();
                }
                Some(TokenTree::Group(branches)) => {
                    let stream = branches.stream();
                    tokens.next();
                    return self.branch(stream, paths);
                }
                Some(TokenTree::Punct(star)) if star.as_char() == '*' => {
                    self.segments.push("*".to_owned());
                    tokens.next();
                }
                _ => break,
            }
        }
        if alone || self.segments.len() > 1 {
            paths.insert(NamedPath {
                is_foreign: self.is_foreign,
                segments: self.segments,
                inside: self.inside.to_vec(),
            });
        }
    }

    fn branch(self, branches: TokenStream, paths: &mut BTreeSet<NamedPath>) {
        let mut tokens = branches.into_iter().peekable();
        let mut before = String::from(",");
        while let Some(token) = tokens.next() {
            let text = token.to_string();
            if before == "," && (matches!(token, TokenTree::Ident(_)) || text == "*") {
                let mut tree = Tree::new(self.is_foreign, self.inside);
                tree.segments = self.segments.clone();
                if text != "self" {
                    tree.segments.push(text.clone());
                }
                tree.follow(&mut tokens, true, paths);
            }
            before = text;
        }
    }
}

fn is_colon(tokens: &mut Tokens) -> bool {
    matches!(tokens.peek(), Some(TokenTree::Punct(punct)) if punct.as_char() == ':')
}

fn next_is_colons(tokens: &mut Tokens) -> bool {
    // A single colon is never followed by another with a space between in formatted code.
    matches!(tokens.peek(), Some(TokenTree::Punct(punct))
        if punct.as_char() == ':' && punct.spacing() == proc_macro2::Spacing::Joint)
}

#[test]
fn paths_are_found_wherever_they_stand() {
    let source = r#"
        //! crate::comment
        use crate::{a::B, c::{self, d as e, f::*}, g};
        use ::h;
        use i;
        mod tests {
            use super::*;
            fn f() { warn!("crate::text", crate::j::K(), ::l::m::<n::O>::p); }
        }
        fn q(r: s::T) -> Vec<u::V> { w.x::<y::Z>() }
    "#;
    let text = |path: &NamedPath| {
        let colons = if path.is_foreign { "::" } else { "" };
        let inside = path.inside.iter().map(|module| format!("{module}: "));
        inside.collect::<String>() + colons + &path.segments.join("::")
    };
    let found: BTreeSet<_> = paths(source).iter().map(text).collect();
    let expected = [
        "::h",
        "crate::a::B",
        "crate::c",
        "crate::c::d",
        "crate::c::f::*",
        "crate::g",
        "i",
        "s::T",
        "tests: ::l::m",
        "tests: crate::j::K",
        "tests: n::O",
        "tests: super::*",
        "u::V",
        "y::Z",
    ];
    assert_eq!(found, expected.map(str::to_owned).into());
}
