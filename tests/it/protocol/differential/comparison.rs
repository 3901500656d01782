//! Compares what two servers let clients see, step by step.

use std::fmt;

use super::{
    conversation::{CLIENTS, Step, name},
    player::Seen,
    rules::{Allows, RULES, Rule},
};

/// What was seen in one step on either side.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pair {
    pub node: Vec<Seen>,
    pub sockd: Vec<Seen>,
}

/// What is known before a step, from what was seen in Node.
#[derive(Debug, Clone, Default)]
pub struct Before {
    /// Which clients have joined the namespace.
    pub joined: [bool; CLIENTS],
}

/// How the two compare.
#[derive(Debug, Clone, Default)]
pub struct Comparison {
    /// The names of the rules without which there would have been a difference.
    pub met: Vec<&'static str>,
    pub difference: Option<Difference>,
}

/// A difference that no rule allows.
#[derive(Debug, Clone)]
pub struct Difference {
    /// The step; where it is past the last one, the end.
    pub at: usize,
    pub pair: Pair,
}

/// Compares two transcripts of the same steps.
pub fn compare(steps: &[Step], node: Vec<Vec<Seen>>, sockd: Vec<Vec<Seen>>) -> Comparison {
    let mut comparison = Comparison::default();
    let mut before = Before::default();
    for (at, (node, sockd)) in node.into_iter().zip(sockd).enumerate() {
        let pair = Pair { node, sockd };
        let (rest, goes_on) = allow(steps.get(at), &before, pair.clone(), &mut comparison.met);
        if !goes_on {
            break;
        }
        before.learn(&pair.node);
        if rest.differ() {
            comparison.difference = Some(Difference { at, pair });
            break;
        }
    }
    comparison
}

/// Applies the rules; returns what is left, and whether the comparison continues.
fn allow(
    step: Option<&Step>,
    before: &Before,
    mut pair: Pair,
    met: &mut Vec<&'static str>,
) -> (Pair, bool) {
    for Rule { name, allows, .. } in RULES {
        match allows {
            Allows::Apart(take_out) => {
                if !pair.differ() {
                    continue;
                }
                let as_it_was = pair.clone();
                take_out(step, &mut pair);
                if pair != as_it_was {
                    met.push(name);
                }
            }
            Allows::FromHereOn(parts) => {
                if parts(step, before, &pair) {
                    met.push(name);
                    return (pair, false);
                }
            }
        }
    }
    (pair, true)
}

impl Before {
    fn learn(&mut self, seen: &[Seen]) {
        for client in 0..CLIENTS {
            for seen in seen.iter().filter(|seen| seen.who == name(client)) {
                if seen.what.starts_with("40{") {
                    self.joined[client] = true;
                } else if seen.is_end() {
                    self.joined[client] = false;
                }
            }
        }
    }
}

impl Seen {
    /// Whether the client is no longer connected.
    pub fn is_end(&self) -> bool {
        self.what.starts_with("poll: ") || self.what.starts_with("Closed(") || self.what == "Cut"
    }
}

impl Pair {
    pub fn differ(&self) -> bool {
        self.node != self.sockd
    }

    /// Whether a client's connection ends on both sides.
    pub fn ends(&self, client: usize) -> bool {
        ends(&self.node, client) && ends(&self.sockd, client)
    }

    pub fn node_alone_ends(&self, client: usize) -> bool {
        ends(&self.node, client) && !ends(&self.sockd, client)
    }

    pub fn sockd_alone_ends(&self, client: usize) -> bool {
        ends(&self.sockd, client) && !ends(&self.node, client)
    }

    /// Whether sockd let a client see something that begins so.
    pub fn sockd_saw(&self, client: usize, what: &str) -> bool {
        let mut own = self.sockd.iter().filter(|seen| seen.who == name(client));
        own.any(|seen| seen.what.starts_with(what))
    }

    /// Changes what was seen, on both sides.
    pub fn on_both(&mut self, change: impl Fn(&mut Vec<Seen>)) {
        change(&mut self.node);
        change(&mut self.sockd);
    }
}

fn ends(seen: &[Seen], client: usize) -> bool {
    let mut own = seen.iter().filter(|seen| seen.who == name(client));
    own.any(Seen::is_end)
}

impl Difference {
    /// The conversation up to the difference, and both sides of it.
    pub fn explain<'a>(&'a self, steps: &'a [Step]) -> impl fmt::Display + 'a {
        struct Explained<'a>(&'a Difference, &'a [Step]);
        impl fmt::Display for Explained<'_> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let Self(Difference { at, pair }, steps) = self;
                for (number, step) in steps.iter().enumerate().take(at + 1) {
                    writeln!(f, "  {}. {step}", number + 1)?;
                }
                if *at >= steps.len() {
                    writeln!(f, "  and then")?;
                }
                for (side, seen) in [("Node", &pair.node), ("sockd", &pair.sockd)] {
                    writeln!(f, "     {side}:")?;
                    for seen in seen {
                        writeln!(f, "       {seen}")?;
                    }
                }
                Ok(())
            }
        }
        Explained(self, steps)
    }
}
