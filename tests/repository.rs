//! The repository's texts name files that exist.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

const TEXTS: [&str; 5] =
    ["CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md", "fixtures/README.md", "tests/boot/README.md"];
/// Folders of the repository: a word in backquotes that starts with one is a path.
const FOLDERS: [&str; 8] =
    ["platforms/", "src/", "tests/", "fixtures/", "docs/", "schemas/", "contrib/", "benches/"];

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

/// What newcomers edit by hand follows the schema, and the program shows all of it.
#[test]
fn platforms_follow_their_schema() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let read = |path: &Path| -> Value {
        let text = std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        serde_json::from_slice(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    };
    let schema = read(&root.join("schemas/platform.schema.json"));
    let validator = jsonschema::validator_for(&schema).expect("a schema");
    let run = Command::new(env!("CARGO_BIN_EXE_premeasure")).args(["platforms", "--json"]).output();
    let shown: Value = serde_json::from_slice(&run.expect("it runs").stdout).expect("JSON");
    let shown = shown.as_array().expect("a list");
    let files = std::fs::read_dir(root.join("platforms")).expect("a folder");
    let mut found = 0;
    for file in files {
        let path = file.expect("an entry").path();
        let platform = read(&path);
        let errors: Vec<String> = validator.iter_errors(&platform).map(|error| error.to_string()).collect();
        assert!(errors.is_empty(), "{}: {errors:#?}", path.display());
        assert_eq!(platform["id"].as_str(), path.file_stem().and_then(|stem| stem.to_str()));
        let entry = shown.iter().find(|entry| entry["id"] == platform["id"]);
        let entry = entry.unwrap_or_else(|| panic!("{} is not in FILES", path.display()));
        for member in [
            "title",
            "evidence",
            "unknown",
            "banks",
            "separator_only",
            "measures_calling",
            "exit_boot_services",
        ] {
            assert_eq!(entry[member], platform[member], "{}: {member}", path.display());
        }
        found += 1;
    }
    assert_eq!(found, shown.len());
}
