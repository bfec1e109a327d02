//! A page, read by html5ever as a browser reads it, and what every page must keep to.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use html5ever::tendril::TendrilSink as _;
use markup5ever_rcdom::{Handle, NodeData, RcDom};
use serde_json::Value as Json;
use sha2::{Digest as _, Sha256};

use crate::support::{premeasure, read};

/// An element; a page's elements are in the order of the document.
pub(crate) struct Element {
    pub(crate) name: String,
    pub(crate) attributes: BTreeMap<String, String>,
    /// All text inside.
    pub(crate) text: String,
}

pub(crate) struct Page {
    pub(crate) source: String,
    pub(crate) elements: Vec<Element>,
}

/// Elements that pages are made of. Anything else came out of a file.
const ELEMENTS: &[&str] = &[
    "a", "body", "button", "code", "dd", "del", "details", "div", "dl", "dt", "footer", "h1", "h2", "h3",
    "h4", "head", "header", "html", "input", "ins", "label", "li", "main", "mark", "meta", "nav", "ol",
    "output", "p", "script", "section", "small", "span", "style", "summary", "table", "tbody", "td", "th",
    "thead", "title", "tr", "ul",
];

const ATTRIBUTES: &[&str] = &[
    "aria-describedby",
    "aria-hidden",
    "aria-label",
    "aria-labelledby",
    "autocomplete",
    "charset",
    "class",
    "content",
    "data-register",
    "download",
    "for",
    "hidden",
    "href",
    "http-equiv",
    "id",
    "lang",
    "name",
    "open",
    "placeholder",
    "role",
    "scope",
    "spellcheck",
    "tabindex",
    "type",
];

impl Element {
    pub(crate) fn attribute(&self, name: &str) -> &str {
        self.attributes.get(name).map_or("", String::as_str)
    }

    pub(crate) fn has_class(&self, class: &str) -> bool {
        self.attribute("class").split(' ').any(|word| word == class)
    }
}

impl Page {
    /// Runs a command with `--html` and without, and with `--json`: the page is sound, its JSON is that of `--json`, and the
    /// normal output is what it was.
    pub(crate) fn of(arguments: &[&Path], file: &Path) -> Self {
        let run =
            |more: &[&Path]| premeasure(arguments.iter().chain(more).map(|argument| argument.as_os_str()));
        let with = run(&[Path::new("--html"), file]);
        assert!(matches!(with.code, Some(0 | 1)), "{:?} {}", with.code, with.stderr);
        let without = run(&[]);
        assert_eq!((with.code, with.text(), &with.stderr), (without.code, without.text(), &without.stderr));
        let page = Self::read(file);
        page.assert_sound();
        let json: Json = serde_json::from_slice(&run(&[Path::new("--json")]).stdout).expect("JSON");
        assert!(page.json() == json, "the page's JSON is not that of --json");
        page
    }

    pub(crate) fn read(file: &Path) -> Self {
        let source = String::from_utf8(read(file)).expect("UTF-8");
        let dom = html5ever::parse_document(RcDom::default(), Default::default()).one(source.as_str());
        assert!(dom.errors.borrow().is_empty(), "{:?}", dom.errors.borrow());
        let mut elements = Vec::new();
        collect(&dom.document, &mut elements);
        Self { source, elements }
    }

    pub(crate) fn all(&self, name: &str) -> Vec<&Element> {
        self.elements.iter().filter(|element| element.name == name).collect()
    }

    pub(crate) fn with_class(&self, class: &str) -> Vec<&Element> {
        self.elements.iter().filter(|element| element.has_class(class)).collect()
    }

    /// Where in the document an element with this id begins.
    pub(crate) fn position(&self, id: &str) -> usize {
        let found = self.elements.iter().position(|element| element.attribute("id") == id);
        found.unwrap_or_else(|| panic!("no element is called {id}"))
    }

    pub(crate) fn by_id(&self, id: &str) -> &Element {
        &self.elements[self.position(id)]
    }

    pub(crate) fn json(&self) -> Json {
        serde_json::from_str(&self.by_id("data").text).expect("JSON")
    }

    /// What holds for every page, whatever it shows.
    fn assert_sound(&self) {
        self.assert_closed();
        self.assert_policy();
        self.assert_accessible();
        let hidden = self.source.chars().find(|c| {
            (c.is_control() && *c != '\n')
                || matches!(c, '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
        });
        assert_eq!(hidden, None, "a character that can't be seen");
    }

    /// Nothing but the page's own elements, and no address outside of it.
    fn assert_closed(&self) {
        for element in &self.elements {
            assert!(ELEMENTS.contains(&element.name.as_str()), "element {}", element.name);
            for (name, value) in &element.attributes {
                assert!(ATTRIBUTES.contains(&name.as_str()), "attribute {name} of {}", element.name);
                assert!(name != "href" || value.starts_with('#'), "link to {value}");
            }
        }
        let own = self.all("style")[0].text.clone() + &self.all("script")[1].text;
        for outside in
            ["http:", "https:", "//fonts", "url(", "@import", "src=", "innerHTML", "eval(", "import("]
        {
            assert!(!own.contains(outside), "{outside} in the page's style or script");
        }
    }

    /// The policy allows the page's one style and one script by their hashes, and nothing else.
    fn assert_policy(&self) {
        let (styles, scripts) = (self.all("style"), self.all("script"));
        assert_eq!((styles.len(), scripts.len()), (1, 2));
        assert_eq!(scripts[0].attribute("type"), "application/json");
        let hash =
            |text: &str| format!("'sha256-{}'", BASE64_STANDARD.encode(Sha256::digest(text.as_bytes())));
        let metas = self.all("meta");
        let policy = metas.iter().position(|meta| meta.attribute("http-equiv") == "Content-Security-Policy");
        // It counts for what stands behind it.
        let policy = policy.filter(|index| *index < 2).expect("a policy at the top");
        let directives: Vec<&str> = metas[policy].attribute("content").split("; ").collect();
        let expected = [
            "default-src 'none'".to_owned(),
            format!("style-src {}", hash(&styles[0].text)),
            format!("script-src {}", hash(&scripts[1].text)),
            "base-uri 'none'".to_owned(),
            "form-action 'none'".to_owned(),
            "require-trusted-types-for 'script'".to_owned(),
        ];
        assert_eq!(directives, expected);
    }

    /// Landmarks, names, headers of tables, and links that lead somewhere.
    fn assert_accessible(&self) {
        for landmark in ["header", "nav", "main", "footer", "h1", "title"] {
            assert_eq!(self.all(landmark).len(), 1, "{landmark}");
        }
        assert_eq!(self.all("html")[0].attribute("lang"), "en");
        assert!(self.all("nav")[0].attributes.contains_key("aria-label"));
        assert!(self.all("th").iter().all(|th| matches!(th.attribute("scope"), "row" | "col")));
        let ids: Vec<&str> =
            self.elements.iter().map(|e| e.attribute("id")).filter(|id| !id.is_empty()).collect();
        let unique: BTreeSet<&str> = ids.iter().copied().collect();
        assert_eq!(ids.len(), unique.len(), "an id occurs twice");
        for element in &self.elements {
            for name in ["aria-labelledby", "aria-describedby", "for"] {
                let targets = element.attribute(name).split(' ').filter(|id| !id.is_empty());
                targets.for_each(|id| assert!(unique.contains(id), "{name}={id}"));
            }
            if let Some(id) = element.attribute("href").strip_prefix('#') {
                assert!(unique.contains(id), "#{id} leads nowhere");
            }
            if element.name == "section" {
                let named = ["aria-label", "aria-labelledby"]
                    .iter()
                    .any(|name| element.attributes.contains_key(*name));
                assert!(named, "a section without a name");
            }
        }
        assert_eq!(self.all("a")[0].attribute("class"), "skip");
        assert!(self.all("summary").iter().all(|summary| !summary.text.trim().is_empty()));
    }
}

fn collect(node: &Handle, elements: &mut Vec<Element>) {
    if let NodeData::Element { name, attrs, .. } = &node.data {
        let attributes =
            attrs.borrow().iter().map(|a| (a.name.local.to_string(), a.value.to_string())).collect();
        let mut text = String::new();
        text_of(node, &mut text);
        elements.push(Element { name: name.local.to_string(), attributes, text });
    }
    node.children.borrow().iter().for_each(|child| collect(child, elements));
}

fn text_of(node: &Handle, text: &mut String) {
    if let NodeData::Text { contents } = &node.data {
        text.push_str(&contents.borrow());
    }
    node.children.borrow().iter().for_each(|child| text_of(child, text));
}
