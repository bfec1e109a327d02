//! Files that try to become markup, script or invisible. The pages' soundness is checked by `Page::of`.

use std::fs;
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use crate::page::Page;
use crate::support::scratch;

const EV_IPL: u32 = 0xd;
const EV_NO_ACTION: u32 = 3;
const EV_EFI_VARIABLE_DRIVER_CONFIG: u32 = 0x8000_0001;
const EV_EFI_BOOT_SERVICES_APPLICATION: u32 = 0x8000_0003;
const EV_EFI_ACTION: u32 = 0x8000_0007;

const TEXTS: &[&str] = &[
    "</script><img src=x onerror=\"document.title='hacked'\">",
    "\"><svg onload=alert(1)>",
    "'--><!--<script>alert(2)</script>",
    "]]></style><iframe srcdoc='<script>alert(3)</script>'>",
    "{{7*7}} {% raw %} &lt;b&gt; &#x3c;b&#x3e; javascript:alert(4)",
    "\u{202e}gnp.exe\u{2066} \u{200b}zero\u{feff}width\u{ad}",
    "\u{1b}[2J\u{1b}]0;owned\u{7} \u{9b}31m",
    "a\u{b}b\u{c}c\td",
];

/// A crypto-agile log with SHA-256 digests (PFP 1.06, sections 10.2 and 10.4.5.1).
fn write_log(name: &str, events: &[(u32, u32, Vec<u8>)]) -> PathBuf {
    let mut spec = b"Spec ID Event03\0".to_vec();
    spec.extend([0, 0, 0, 0, 0, 2, 0, 2]);
    spec.extend(1_u32.to_le_bytes());
    spec.extend([0x0b, 0, 32, 0, 0]);
    let mut log = [0_u32.to_le_bytes(), EV_NO_ACTION.to_le_bytes()].concat();
    log.extend([0; 20]);
    log.extend((spec.len() as u32).to_le_bytes());
    log.extend(spec);
    for (pcr, kind, data) in events {
        log.extend([pcr.to_le_bytes(), kind.to_le_bytes(), 1_u32.to_le_bytes()].concat());
        log.extend([0x0b, 0]);
        log.extend(Sha256::digest(data));
        log.extend((data.len() as u32).to_le_bytes());
        log.extend(data);
    }
    let folder = scratch().join("report-hostile");
    fs::create_dir_all(&folder).expect("a folder");
    let path = folder.join(name);
    fs::write(&path, log).expect("written");
    path
}

fn utf16(text: &str) -> Vec<u8> {
    text.encode_utf16().chain([0]).flat_map(u16::to_le_bytes).collect()
}

/// UEFI_VARIABLE_DATA.
fn variable(name: &str, data: &[u8]) -> Vec<u8> {
    let name: Vec<u8> = name.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let mut bytes = vec![0x61; 16];
    bytes.extend((name.len() as u64 / 2).to_le_bytes());
    bytes.extend((data.len() as u64).to_le_bytes());
    bytes.extend(name);
    bytes.extend(data);
    bytes
}

/// UEFI_IMAGE_LOAD_EVENT with a file path.
fn image(path: &str) -> Vec<u8> {
    let path = utf16(path);
    let mut device_path = vec![4, 4];
    device_path.extend((path.len() as u16 + 4).to_le_bytes());
    device_path.extend(path);
    device_path.extend([0x7f, 0xff, 4, 0]);
    let mut bytes = vec![0; 24];
    bytes.extend((device_path.len() as u64).to_le_bytes());
    bytes.extend(device_path);
    bytes
}

/// Each text wherever a log has texts.
fn events(texts: &[&str]) -> Vec<(u32, u32, Vec<u8>)> {
    let of = |text: &&str| {
        [
            (12, EV_IPL, utf16(text)),
            (8, EV_IPL, text.as_bytes().to_vec()),
            (7, EV_EFI_VARIABLE_DRIVER_CONFIG, variable(text, text.as_bytes())),
            (4, EV_EFI_BOOT_SERVICES_APPLICATION, image(text)),
            (5, EV_EFI_ACTION, text.as_bytes().to_vec()),
            (0, 0xdead_beef, [text.as_bytes(), &[0, 0]].concat()),
        ]
    };
    texts.iter().flat_map(of).collect()
}

fn file(name: &str) -> PathBuf {
    scratch().join(format!("report-hostile-{name}.html"))
}

#[test]
fn texts_of_a_log_stay_texts() {
    let log = write_log("<img src=x onerror=alert(5)>\u{202e}.bin", &events(TEXTS));
    let page = Page::of(&["log".as_ref(), "show".as_ref(), &log], &file("log"));
    assert_eq!(page.with_class("event").len(), 1 + 6 * TEXTS.len());
    let shown = |text: &str| page.with_class("what").iter().filter(|what| what.text.contains(text)).count();
    // Text, word by word as it is in the file.
    assert!(shown(TEXTS[0]) >= 4, "{}", shown(TEXTS[0]));
    assert!(shown("&lt;b&gt; &#x3c;b&#x3e;") >= 4);
    assert!(shown("\\u{202e}gnp.exe\\u{2066}") >= 2);
    assert!(shown("\\u{1b}[2J") >= 2);
}

#[test]
fn texts_of_a_comparison_stay_texts() {
    let ours = write_log("expected\"><svg onload=alert(6)>.bin", &events(TEXTS));
    let other: Vec<String> = TEXTS.iter().map(|text| format!("{text} more")).collect();
    let theirs = write_log("observed.bin", &events(&other.iter().map(String::as_str).collect::<Vec<_>>()));
    let page = Page::of(&["compare".as_ref(), &ours, &theirs], &file("compare"));
    assert!(page.with_class("flagged").len() >= 4 * TEXTS.len());
    assert!(page.all("ins").iter().any(|word| word.text.contains("more")));
}

/// A megabyte of text in one event: cut on the page, whole in the JSON.
#[test]
fn very_long_texts_are_cut() {
    let long = "<b>".repeat(350_000);
    let log = write_log("long.bin", &[(12, EV_IPL, utf16(&long)), (8, EV_IPL, long.clone().into_bytes())]);
    let page = Page::of(&["log".as_ref(), "show".as_ref(), &log], &file("long"));
    let cells = page.all("td");
    let cut: Vec<_> = cells
        .iter()
        .filter(|cell| cell.text.contains("(1050000 characters; --json prints all of them)"))
        .collect();
    assert_eq!(cut.len(), 2);
    assert!(cut.iter().all(|cell| cell.text.len() < 5000 && cell.text.starts_with("<b><b>")));
    assert!(page.json()["events"][1].to_string().contains(&long));
    let shown: usize = page.source.len() - page.by_id("data").text.len();
    assert!(shown < 40_000 + 6 * page.by_id("data").text.len(), "{shown}");
}

/// A document made elsewhere: its names, statements and sources are texts as well.
#[test]
fn texts_of_a_document_stay_texts() {
    let tiny = crate::support::fixture("t-tiny-257/uki.efi");
    let document = scratch().join("report-hostile.json");
    let run = crate::support::premeasure([
        "predict".as_ref(),
        tiny.as_os_str(),
        "-o".as_ref(),
        document.as_os_str(),
    ]);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    let text = fs::read_to_string(&document).expect("readable");
    let hostile = "</script><script>alert(7)</script>\\u202e";
    let edited = text.replace("Measured boot rig 257", hostile).replace("systemd-stub 257", hostile);
    assert_ne!(text, edited);
    let other = scratch().join("report-hostile-edited.json");
    fs::write(&other, edited).expect("written");
    let page = Page::of(&["diff".as_ref(), &document, &other], &file("diff"));
    assert!(page.by_id("main").text.contains("</script>"), "the text is shown");
    let log = crate::support::boots::boot("t-tiny-257").record("eventlog.bin");
    let arguments: [&Path; 3] = ["compare".as_ref(), &other, &log];
    Page::of(&arguments, &file("document"));
}
