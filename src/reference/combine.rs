//! Several documents as one: the entries of a boot menu, each with its own image and variants.

use std::collections::BTreeSet;

use super::document::Document;

/// Puts documents of one generator and the same banks together. Names are made unique by numbers where they collide.
/// `None` when there is no document.
#[must_use]
pub fn combine(documents: Vec<Document>) -> Option<Document> {
    let mut documents = documents.into_iter();
    let mut combined = documents.next()?;
    for mut document in documents {
        rename(&combined, &mut document);
        combined.images.append(&mut document.images);
        combined.scenarios.append(&mut document.scenarios);
        combined.variants.append(&mut document.variants);
        for rule in document.rules {
            if !combined.rules.iter().any(|known| known.id == rule.id) {
                combined.rules.push(rule);
            }
        }
    }
    combined.rules.sort_by(|one, other| one.id.cmp(&other.id));
    Some(combined)
}

/// Gives `document` names that `taken` does not have.
fn rename(taken: &Document, document: &mut Document) {
    let images: BTreeSet<&str> = taken.images.iter().map(|image| image.id.as_str()).collect();
    for image in &mut document.images {
        let new = unused(&images, &image.id);
        document.variants.iter_mut().filter(|v| v.image == image.id).for_each(|v| v.image.clone_from(&new));
        image.id = new;
    }
    let scenarios: BTreeSet<&str> = taken.scenarios.iter().map(|scenario| scenario.id.as_str()).collect();
    for scenario in &mut document.scenarios {
        let new = unused(&scenarios, &scenario.id);
        document
            .variants
            .iter_mut()
            .filter(|v| v.scenario == scenario.id)
            .for_each(|v| v.scenario.clone_from(&new));
        scenario.id = new;
    }
    let variants: BTreeSet<&str> = taken.variants.iter().map(|variant| variant.id.as_str()).collect();
    for variant in &mut document.variants {
        variant.id = unused(&variants, &variant.id);
    }
}

fn unused(taken: &BTreeSet<&str>, name: &str) -> String {
    let numbered = (2_usize..).map(|number| format!("{name}-{number}"));
    let mut names = std::iter::once(name.to_owned()).chain(numbered);
    names.find(|name| !taken.contains(name.as_str())).unwrap_or_default()
}
