//! The repository's texts name files that exist.

use std::collections::BTreeSet;
use std::path::Path;

const TEXTS: [&str; 5] =
    ["CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md", "fixtures/README.md", "tests/boot/README.md"];
/// Folders of the repository: a word in backquotes that starts with one is a path.
const FOLDERS: [&str; 7] = ["src/", "tests/", "fixtures/", "docs/", "schemas/", "contrib/", "benches/"];

#[test]
fn texts_name_files_that_exist() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut missing = BTreeSet::new();
    let mut found = 0;
    for text in TEXTS {
        let contents =
            std::fs::read_to_string(root.join(text)).unwrap_or_else(|error| panic!("{text}: {error}"));
        for word in
            contents.split('`').skip(1).step_by(2).filter_map(|quoted| quoted.split_whitespace().next())
        {
            // systemd has a src/boot too; its files are C.
            let ours = FOLDERS.iter().any(|folder| word.starts_with(folder)) && !word.ends_with(".c");
            if ours && !root.join(word).exists() {
                missing.insert(format!("{text}: {word}"));
            }
            found += usize::from(ours);
        }
    }
    assert!(missing.is_empty(), "{missing:#?}");
    assert!(found > 10, "{found} paths");
}
