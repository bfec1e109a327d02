//! Reports as one HTML page: what `--html` writes.
//!
//! [`Page`] is what a page shows, made of the structures that the JSON is made of ([`comparison()`], [`prediction()`],
//! [`release()`]; `log show` makes its own). [`Page::html`] fills the template in `templates/report/` with it.
//!
//! A page holds text from files that an attacker may have written. Four things keep it text: every string in the view
//! is a [`Text`], in which control characters and those that can't be seen are escaped; the template escapes markup;
//! the embedded JSON has no character that could end its element; and a policy in the page forbids a browser to run or
//! load anything but the page's own style and script, which it knows by their hashes.

#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::unwrap_used)]

mod boot;
mod comparison;
mod prediction;
mod release;
mod sides;
mod text;
mod timeline;
mod view;

use askama::Template;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

pub use comparison::comparison;
pub use prediction::prediction;
pub use release::release;
pub use text::{Text, plain_json, printable};
pub use timeline::{Clock, Part};
pub use view::{
    Banner, Boot, Bytes, Cause, Change, Event, Fact, Field, First, Mark, Page, PartView, Register, Side,
    Tone, Value, WordView,
};

use crate::tcg::{Digest, HashAlgorithm};

/// The page's own style and script.
const STYLE: &str = include_str!("../../templates/report/report.css");
const SCRIPT: &str = include_str!("../../templates/report/report.js");

/// Events that one page shows: browsers get slow beyond.
pub const MAX_EVENTS: usize = 20_000;

/// Bytes of JSON that a page holds: browsers would take seconds to open it.
pub const MAX_JSON: usize = 64 << 20;

#[derive(Template)]
#[template(path = "report/page.html")]
struct Html<'p> {
    page: &'p Page,
    policy: String,
    style: &'static str,
    script: &'static str,
    json: Option<&'p str>,
    version: &'static str,
}

impl Page {
    /// The page as HTML, with JSON to be downloaded from it, unless that has more than [`MAX_JSON`] bytes. Any JSON is safe.
    ///
    /// # Panics
    /// Never: the template only writes to memory.
    #[must_use]
    pub fn html(&self, json: &str) -> String {
        let json = Some(json).filter(|json| json.len() <= MAX_JSON).map(text::json_for_page);
        let html = Html {
            page: self,
            policy: policy(),
            style: STYLE,
            script: SCRIPT,
            json: json.as_deref(),
            version: env!("CARGO_PKG_VERSION"),
        };
        html.render().unwrap_or_default()
    }
}

/// What a browser may do with the page (Content Security Policy Level 3, sections 6.1 and 8.3). The link that saves the
/// JSON has a `blob:` address, which a download needs no permission for.
fn policy() -> String {
    let hash = |text: &str| {
        let digest = Digest::of(HashAlgorithm::Sha256, text.as_bytes());
        format!("'sha256-{}'", BASE64_STANDARD.encode(digest.as_bytes()))
    };
    format!(
        "default-src 'none'; style-src {}; script-src {}; base-uri 'none'; form-action 'none'; \
         require-trusted-types-for 'script'",
        hash(STYLE),
        hash(SCRIPT)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_that_is_too_large_is_left_out_and_said_to_be() {
        let page = Page::default();
        assert!(page.html("[]").contains("id=\"data\" type=\"application/json\">[]</script>"));
        let html = page.html(&" ".repeat(MAX_JSON + 1));
        assert!(!html.contains("id=\"data\"") && !html.contains("id=\"save\""));
        assert!(html.contains("the JSON is too large for it") && html.len() < 100_000);
    }
}
