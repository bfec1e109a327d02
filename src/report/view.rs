//! What a page shows, piece by piece. Every string that may come from a file is a [`Text`].

use super::text::Text;
use super::timeline::Part;
use crate::tcg::HashAlgorithm;

/// Digits of a value in a row.
const SHORT: usize = 16;

/// A page.
#[derive(Debug, Clone, Default)]
pub struct Page {
    /// The command that made it, as it is typed.
    pub command: &'static str,
    /// What it is about.
    pub title: Text,
    /// The outcome.
    pub banner: Banner,
    /// What was read, and how.
    pub facts: Vec<Fact>,
    /// Where two boots part.
    pub first: Option<First>,
    /// Heading of [`Page::causes`].
    pub causes_title: &'static str,
    /// Names of its first and last column.
    pub causes_columns: (&'static str, &'static str),
    /// What explains the outcome.
    pub causes: Vec<Cause>,
    /// The heading of the registers' table.
    pub registers_title: &'static str,
    /// Boots: one, or alternatives.
    pub boots: Vec<Boot>,
    /// What is taken for granted, and what else is listed beside the boots: a heading and facts.
    pub lists: Vec<(&'static str, Vec<Fact>)>,
    /// What is said of flagged events.
    pub flag: &'static str,
    /// Remarks.
    pub notes: Vec<Text>,
    /// The file name under which the JSON is saved.
    pub json_name: &'static str,
}

/// How good something is. Never shown by colour alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Tone {
    /// Neither good nor bad.
    #[default]
    Plain,
    /// As it should be.
    Good,
    /// Deserves a second look.
    Caution,
    /// Wrong.
    Bad,
}

impl Tone {
    /// The class in the style sheet.
    #[must_use]
    pub fn class(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Good => "good",
            Self::Caution => "caution",
            Self::Bad => "bad",
        }
    }
}

/// A word, and a sign that stands for it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Mark {
    /// How good it is.
    pub tone: Tone,
    /// One character.
    pub sign: &'static str,
    /// The word.
    pub word: Text,
}

impl Mark {
    /// A mark.
    pub fn new(tone: Tone, sign: &'static str, word: impl AsRef<str>) -> Self {
        Self { tone, sign, word: word.into() }
    }
}

/// The outcome in a sentence.
#[derive(Debug, Clone, Default)]
pub struct Banner {
    /// Sign and tone; its word is the sentence.
    pub mark: Mark,
    /// More about it.
    pub detail: Text,
}

/// A name and what it has.
#[derive(Debug, Clone)]
pub struct Fact {
    /// The name.
    pub name: Text,
    /// What it has.
    pub value: Text,
    /// It is a value of digits or code.
    pub code: bool,
}

impl Fact {
    /// Words.
    pub fn new(name: impl AsRef<str>, value: impl AsRef<str>) -> Self {
        Self { name: name.into(), value: value.into(), code: false }
    }

    /// Digits, names of files, command lines.
    pub fn code(name: impl AsRef<str>, value: impl AsRef<str>) -> Self {
        Self { code: true, ..Self::new(name, value) }
    }
}

/// Where two boots part.
#[derive(Debug, Clone)]
pub struct First {
    /// The register.
    pub register: Text,
    /// One line.
    pub what: Text,
    /// What differs inside.
    pub changes: Vec<Change>,
    /// [`Event::id`], where it is on the page.
    pub event: Option<String>,
}

/// What explains something.
#[derive(Debug, Clone)]
pub struct Cause {
    /// Its code or name.
    pub name: Text,
    /// The registers that it moves.
    pub registers: Text,
    /// What it is.
    pub detail: Text,
    /// A text word by word, instead of a detail.
    pub words: Vec<WordView>,
    /// How far it goes.
    pub mark: Mark,
    /// What the code means.
    pub meaning: Text,
}

/// One boot.
#[derive(Debug, Clone, Default)]
pub struct Boot {
    /// Its name; shown where there are several.
    pub title: Text,
    /// Registers.
    pub registers: Vec<Register>,
    /// Its events by part, in order; empty where there are none.
    pub parts: Vec<PartView>,
    /// Why there are no events, or not all.
    pub remark: Text,
    /// Shown from the start.
    pub open: bool,
}

/// A register.
#[derive(Debug, Clone)]
pub struct Register {
    /// `PCR 11`, or its name in a confidential guest.
    pub label: Text,
    /// What for.
    pub name: Text,
    /// What became of it.
    pub mark: Mark,
    /// A few words about that.
    pub detail: Text,
    /// Its events in each of [`Boot::parts`]: how many, and how many of them differ.
    pub counts: Vec<(usize, usize)>,
    /// Values.
    pub values: Vec<Value>,
    /// Two values of a bank are those of two sides.
    pub pairs: bool,
    /// What is not known, or taken for granted.
    pub notes: Vec<Fact>,
}

/// A value of a register.
#[derive(Debug, Clone)]
pub struct Value {
    /// The bank.
    pub bank: &'static str,
    /// Whose or when: `expected`, a stage.
    pub what: Text,
    /// In hexadecimal.
    pub value: Text,
}

/// A part of the boot.
#[derive(Debug, Clone)]
pub struct PartView {
    /// Which.
    pub part: Part,
    /// Its id on the page.
    pub id: String,
    /// Its events.
    pub events: Vec<Event>,
    /// How many of them differ.
    pub different: usize,
}

/// An event.
#[derive(Debug, Clone, Default)]
pub struct Event {
    /// Its id on the page.
    pub id: String,
    /// Its number.
    pub number: Text,
    /// The register.
    pub register: Text,
    /// What became of it, or how far it is proven.
    pub mark: Mark,
    /// Its type.
    pub kind: Text,
    /// One line.
    pub what: Text,
    /// The line that was there instead, where it was another one.
    pub before: Text,
    /// It differs, or something is wrong with it.
    pub flagged: bool,
    /// Its details are shown from the start.
    pub open: bool,
    /// What differs inside.
    pub changes: Vec<Change>,
    /// Both sides, or the only one.
    pub sides: Vec<Side>,
    /// Decoded fields.
    pub fields: Vec<Field>,
}

/// An event as one side has it.
#[derive(Debug, Clone, Default)]
pub struct Side {
    /// Whose; empty where there is one side only.
    pub title: &'static str,
    /// What is known of it.
    pub facts: Vec<Fact>,
    /// Its data.
    pub data: Option<Bytes>,
}

/// Bytes in hexadecimal.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Bytes {
    /// How many there are.
    pub length: usize,
    /// Those before the first that differs.
    pub before: Text,
    /// From the first that differs to the last; empty where there is nothing to compare with.
    pub changed: Text,
    /// Where these begin.
    pub offset: usize,
    /// Those behind.
    pub after: Text,
}

/// A decoded field.
#[derive(Debug, Clone)]
pub struct Field {
    /// How deep in others it is.
    pub depth: usize,
    /// Its name in the specification.
    pub name: Text,
    /// Its value.
    pub value: Text,
    /// Whether the digest proves it.
    pub mark: Mark,
}

/// A difference inside an event.
#[derive(Debug, Clone)]
pub struct Change {
    /// What differs.
    pub field: Text,
    /// Word by word, where it is a text.
    pub words: Vec<WordView>,
    /// As expected.
    pub expected: Option<Text>,
    /// As observed.
    pub observed: Option<Text>,
}

/// Words that share their fate.
#[derive(Debug, Clone)]
pub struct WordView {
    /// `kept`, `removed`, `added`.
    pub fate: &'static str,
    /// The words.
    pub text: Text,
}

impl Register {
    /// Enough of its value, in SHA-256 if there is one, to tell it from others; of both sides where there are two.
    #[must_use]
    pub fn short(&self) -> String {
        let usual = self.values.iter().position(|value| value.bank == HashAlgorithm::Sha256.name());
        let index = usual.unwrap_or(0);
        let Some(first) = self.values.get(index) else { return "why".to_owned() };
        let start = |value: &Value| value.value.to_string().chars().take(SHORT).collect::<String>() + "…";
        match self.values.get(index.saturating_add(1)).filter(|other| self.pairs && other.bank == first.bank)
        {
            Some(other) => format!("{} → {}", start(first), start(other)),
            None => start(first),
        }
    }
}
