//! A value that must not be shown.

use std::fmt;

use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// A secret string: redacted in `Debug`, without `Display` or `Serialize`, wiped when dropped.
#[derive(Clone)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Takes ownership of the text, so that no second copy of it is left in memory.
    pub fn new(value: String) -> Self {
        Self(Zeroizing::new(value))
    }

    /// Reads the text of a file, without the line break that editors and `echo` add at its end; `None`
    /// if nothing is left.
    pub fn of_file(mut text: String) -> Option<Self> {
        let line = text.strip_suffix('\n').unwrap_or(&text);
        text.truncate(line.strip_suffix('\r').unwrap_or(line).len());
        (!text.is_empty()).then(|| Self::new(text))
    }

    /// The secret itself, for the one place that must use it.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Whether it holds a PEM block (RFC 7468), and so a key of a pair or a certificate rather than
    /// a shared text. Tools write other lines before the block, such as `Bag Attributes`.
    pub fn is_pem(&self) -> bool {
        self.0.contains("-----BEGIN ")
    }

    /// Why no `Authorization: Bearer` carries it as it is (RFC 9110, section 5.5); `None` if one does.
    pub fn unsendable(&self) -> Option<&'static str> {
        let text = self.expose();
        if text.contains(['\n', '\r']) {
            return Some("has a line break");
        }
        if text.trim() != text {
            return Some("begins or ends with whitespace");
        }
        let is_forbidden = |c: char| c.is_ascii_control() && c != '\t';
        text.contains(is_forbidden)
            .then_some("has a control character")
    }

    /// Compares in time that depends on the lengths alone.
    pub fn matches(&self, given: &str) -> bool {
        self.0.as_bytes().ct_eq(given.as_bytes()).into()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_nothing_of_the_secret() {
        assert_eq!(format!("{:?}", Secret::new("hunter2".into())), "Secret(…)");
    }

    #[test]
    fn a_pem_block_counts_wherever_it_begins() {
        let block = "-----BEGIN PUBLIC KEY-----\nMIIB\n-----END PUBLIC KEY-----\n";
        for before in [
            "",
            "\n \t",
            "\u{feff}",
            "Bag Attributes\n  localKeyID: 01\n",
            "# mine\r\n",
        ] {
            assert!(
                Secret::new(format!("{before}{block}")).is_pem(),
                "{before:?}"
            );
        }
        assert!(Secret::new(block.replace('\n', "\\n")).is_pem());
        for text in [
            "",
            "hunter2",
            "BEGIN PUBLIC KEY",
            "-----END PUBLIC KEY-----",
        ] {
            assert!(!Secret::new(text.to_owned()).is_pem(), "{text:?}");
        }
    }

    #[test]
    fn what_no_header_carries_is_known() {
        let unsendable = |text: &str| Secret::new(text.to_owned()).unsendable();
        for text in [
            "a",
            "a b",
            "a\tb",
            "\"a\"",
            "ä",
            "日本",
            "\u{feff}a",
            "~!;,=",
        ] {
            assert_eq!(unsendable(text), None, "{text:?}");
        }
        for (text, why) in [
            ("a\nb", "has a line break"),
            ("a\r", "has a line break"),
            ("\n", "has a line break"),
            (" a", "begins or ends with whitespace"),
            ("a\t", "begins or ends with whitespace"),
            ("a\u{a0}", "begins or ends with whitespace"),
            (" ", "begins or ends with whitespace"),
            ("a\0b", "has a control character"),
            ("\u{1b}a", "has a control character"),
            ("a\u{7f}", "has a control character"),
        ] {
            assert_eq!(unsendable(text), Some(why), "{text:?}");
        }
    }

    #[test]
    fn only_the_whole_secret_matches() {
        let secret = Secret::new("hunter2".into());
        assert!(secret.matches("hunter2"));
        assert!(!secret.matches("hunter"));
        assert!(!secret.matches(""));
    }
}
