//! Signature databases as other tools write them (efitools, sbsigntool, osslsigncode, virt-firmware, AWS's uefivars), and what they
//! let start. Expected digests are hashed here from what those tools wrote; who may start follows the UEFI specification, chapter 32.

mod support;

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use premeasure::tcg::{Digest, HashAlgorithm};
use serde_json::Value;
use support::{find_tool, fixture, premeasure, read, scratch, skipped_without, tool};

const EFITOOLS: [&str; 5] =
    ["openssl", "sbsign", "cert-to-efi-sig-list", "hash-to-efi-sig-list", "sign-efi-sig-list"];
const OWNER: &str = "11111111-2222-3333-4444-123456789abc";
/// The same, as bytes of a list.
const OWNER_BYTES: [u8; 16] = *b"\x11\x11\x11\x11\x22\x22\x33\x33\x44\x44\x12\x34\x56\x78\x9a\xbc";
/// `EFI_IMAGE_SECURITY_DATABASE_GUID`.
const DATABASE: [u8; 16] = *b"\xcb\xb2\x19\xd7\x3a\x3d\x96\x45\xa3\xbc\xda\xd0\x0e\x67\x65\x6f";
/// `EFI_CERT_X509_SHA256_GUID` and its likes.
const REVOKED: [(HashAlgorithm, [u8; 16]); 3] = [
    (HashAlgorithm::Sha256, *b"\x92\xa4\xd2\x3b\xc0\x96\x79\x40\xb4\x20\xfc\xf9\x8e\xf1\x03\xed"),
    (HashAlgorithm::Sha384, *b"\x6e\x87\x76\x70\xc2\x80\xe6\x4e\xaa\xd2\x28\xb3\x49\xa6\x86\x5b"),
    (HashAlgorithm::Sha512, *b"\x63\xbf\x6d\x44\x02\x25\xda\x4c\xbc\xfa\x24\x65\xd2\xb0\xfe\x9d"),
];

/// Certificates, several in a variable and several images in a list: the entry that lets an image start is the one measured.
#[test]
fn the_entry_that_counts_is_found_among_lists() {
    if skipped_without(&EFITOOLS) {
        return;
    }
    let keys = Keys::make();
    let signed = keys.sign("one", &keys.unsigned(), "signed.efi");
    let both = keys.joined(&["two", "one"]);
    assert_eq!(keys.authority(&signed, &both), [keys.entry("one")]);
    // Twice the same certificate: the first entry is measured, once.
    let twice = keys.joined(&["one", "two", "one"]);
    assert_eq!(keys.authority(&signed, &twice), [keys.entry("one")]);

    // Image digests, two in one list, behind a certificate that helps neither.
    let (first, second) = (keys.unsigned(), fixture("t3-tiny-262/uki.efi"));
    let hashes = keys.path("hashes.esl");
    tool(Command::new("hash-to-efi-sig-list").args([&second, &first]).arg(&hashes));
    let list = read(&hashes);
    let entries: Vec<&[u8]> = list[28..].chunks_exact(48).collect();
    assert_eq!(entries.len(), 2, "one list of two");
    let db = keys.path("db.esl");
    fs::write(&db, [read(keys.list("two")), list.clone()].concat()).expect("written");
    assert_eq!(keys.authority(&first, &db), [measured(entries[1])]);
    assert_eq!(keys.authority(&second, &db), [measured(entries[0])]);
    // The same list as dbx.
    let reason = keys.refused(&first, &keys.joined(&["one"]), &hashes, &[]);
    assert!(reason.contains("dbx lists its image digest"), "{reason}");
    let reason = keys.refused(&signed, &both, &keys.image_list(&signed), &[]);
    assert!(reason.contains("dbx lists its image digest"), "{reason}");
}

/// An image with two signatures starts when either is trusted, and its entry is measured.
#[test]
fn an_image_signed_twice_starts_by_either_signature() {
    if skipped_without(&EFITOOLS) {
        return;
    }
    let keys = Keys::make();
    let once = keys.sign("one", &keys.unsigned(), "once.efi");
    let twice = keys.sign("two", &once, "twice.efi");
    for (db, entry) in [(["one"].as_slice(), "one"), (&["two"], "two"), (&["two", "one"], "one")] {
        // EDK2 takes the signatures in the order of the file, and each of them to db.
        assert_eq!(keys.authority(&twice, &keys.joined(db)), [keys.entry(entry)], "{db:?}");
    }
    // One that is revoked refuses the image, whatever the other one is.
    let reason = keys.refused(&twice, &keys.joined(&["one"]), &keys.list("two"), &[]);
    assert!(reason.contains("dbx holds 'two'"), "{reason}");
}

/// Signed updates, as `sign-efi-sig-list` writes them, one by one and as a folder that systemd-boot enrols.
#[test]
fn signed_updates_are_read_like_the_lists_in_them() {
    if skipped_without(&EFITOOLS) {
        return;
    }
    let keys = Keys::make();
    let signed = keys.sign("one", &keys.unsigned(), "signed.efi");
    let folder = keys.path("enrol");
    fs::create_dir(&folder).expect("made");
    for name in ["PK", "KEK", "db"] {
        let mut command = Command::new("sign-efi-sig-list");
        command
            .args(["-t", "2026-01-01 00:00:00", "-k"])
            .arg(keys.path("one.key"))
            .arg("-c")
            .arg(keys.path("one.crt"));
        tool(command.arg(name).arg(keys.list("one")).arg(folder.join(format!("{name}.auth"))));
    }
    let one = keys.list("one");
    let expected = pcr7(&keys.predict(&signed, &one, &one, None, &[]).expect("it starts"));
    let auth = folder.join("db.auth");
    assert_eq!(pcr7(&keys.predict(&signed, &one, &auth, None, &[]).expect("it starts")), expected, ".auth");
    let mut arguments = vec!["predict".into(), signed.clone().into_os_string(), "--variables".into()];
    arguments.extend([folder.into_os_string(), "--dbx".into(), "none".into(), "--json".into()]);
    arguments.extend(["--secure-boot".into(), "on".into()]);
    assert_eq!(pcr7(&premeasure(&arguments).json()), expected, "loader/keys");
    // An update around an update is no signature list.
    let nested = keys.path("nested.auth");
    let mut command = Command::new("sign-efi-sig-list");
    command.arg("-k").arg(keys.path("one.key")).arg("-c").arg(keys.path("one.crt")).arg("db");
    tool(command.arg(&auth).arg(&nested));
    let reason = keys.refused_as(&signed, &one, &nested, None, &[]);
    assert!(reason.contains("--db") && reason.contains("EFI_SIGNATURE_LIST"), "{reason}");
}

/// dbx names certificates by digests, since a moment or for ever. Only with time stamping keys and a time stamp may a signature be
/// older, and whether it is depends on the machine's clock.
#[test]
fn certificates_revoked_by_digest_refuse_what_they_signed() {
    if skipped_without(&EFITOOLS) {
        return;
    }
    let keys = Keys::make();
    let signed = keys.sign("one", &keys.unsigned(), "signed.efi");
    let db = keys.joined(&["one"]);
    let dbt = keys.list("two");
    let since = [&2026_u16.to_le_bytes()[..], &[1, 1], &[0; 12]].concat();
    for (algorithm, kind) in REVOKED {
        for (time, dbt) in [
            (vec![0; 16], None),
            (since.clone(), None),
            (vec![0; 16], Some(&dbt)),
            (since.clone(), Some(&dbt)),
        ] {
            let dbx = keys.path("revoked.esl");
            let digest = Digest::of(algorithm, &to_be_signed(&read(keys.path("one.der"))));
            fs::write(&dbx, list(kind, &[digest.as_bytes(), &time].concat())).expect("written");
            let extra = dbt.map_or(Vec::new(), |dbt| vec!["--dbt".into(), dbt.clone().into_os_string()]);
            // Without a time stamp there is nothing to prove an earlier signature.
            let reason = keys.refused(&signed, &db, &dbx, &extra);
            assert!(reason.contains("dbx lists 'one', which signed it"), "{reason}");
        }
    }
    // The digest of another certificate.
    let dbx = keys.path("other.esl");
    let digest = Digest::of(HashAlgorithm::Sha256, &to_be_signed(&read(keys.path("two.der"))));
    fs::write(&dbx, list(REVOKED[0].1, &[digest.as_bytes(), &[0; 16]].concat())).expect("written");
    assert!(keys.predict(&signed, &db, &db, Some(&dbx), &[]).is_ok());
    stamped(&keys, &db, &dbt, &since);
}

/// With a time stamp (`osslsigncode` makes one by itself) the verdict is open, and so is PCR 7.
fn stamped(keys: &Keys, db: &Path, dbt: &Path, since: &[u8]) {
    if skipped_without(&["osslsigncode"]) {
        return;
    }
    let help = Command::new("osslsigncode").arg("--help").output().expect("it runs");
    let help = [help.stdout, help.stderr].concat();
    if !String::from_utf8_lossy(&help).contains("-TSA-certs") {
        return;
    }
    let authority = keys.timestamping();
    let output = keys.path("stamped.efi");
    let mut command = Command::new("osslsigncode");
    command.args(["sign", "-h", "sha256", "-TSA-time", "1700000000"]);
    command.arg("-TSA-certs").arg(&authority).arg("-TSA-key").arg(keys.path("tsa.key"));
    command.arg("-certs").arg(keys.path("one.crt")).arg("-key").arg(keys.path("one.key"));
    tool(command.arg("-in").arg(keys.unsigned()).arg("-out").arg(&output));
    let dbx = keys.path("since.esl");
    let digest = Digest::of(HashAlgorithm::Sha256, &to_be_signed(&read(keys.path("one.der"))));
    fs::write(&dbx, list(REVOKED[0].1, &[digest.as_bytes(), since].concat())).expect("written");
    let reason = keys.refused(&output, db, &dbx, &[]);
    assert!(reason.contains("dbx lists 'one'"), "{reason}");
    let with = ["--dbt".into(), dbt.as_os_str().to_owned()];
    let document = keys.predict(&output, db, db, Some(&dbx), &with).expect("open");
    assert_eq!(pcr7(&document), Value::Null);
    assert!(document.to_string().contains("whether a time stamp proves an earlier signature"));
}

/// Chains whose certificates are signed with RSASSA-PSS, or with keys on P-521: `sbverify` (sbsigntool, by OpenSSL) says the same.
#[test]
fn unusual_signatures_of_certificates_are_checked() {
    if skipped_without(&EFITOOLS) || skipped_without(&["sbverify"]) {
        return;
    }
    let pss = |salt: &str| {
        ["-sigopt", "rsa_padding_mode:pss", "-sigopt", &format!("rsa_pss_saltlen:{salt}")]
            .map(str::to_owned)
            .to_vec()
    };
    let curve = |name: &str| vec!["ec".to_owned(), "-pkeyopt".into(), format!("ec_paramgen_curve:{name}")];
    let rsa = || vec!["rsa:2048".to_owned()];
    for (key, extra, known) in [
        (rsa(), pss("digest"), true),
        // ring checks no other length of salt.
        (rsa(), pss("17"), false),
        (curve("secp521r1"), Vec::new(), true),
        (curve("secp521r1"), vec!["-sha512".to_owned()], true),
        (curve("prime256v1"), vec!["-sha512".to_owned()], true),
        (curve("secp384r1"), vec!["-sha1".to_owned()], true),
    ] {
        let keys = Keys::make();
        keys.root_and_leaf(&key, &extra);
        let signed = keys.sign("leaf", &keys.unsigned(), "signed.efi");
        let verified =
            Command::new("sbverify").arg("--cert").arg(keys.path("root.crt")).arg(&signed).output();
        assert!(verified.expect("it runs").status.success(), "sbverify: {key:?} {extra:?}");
        let root = keys.list("root");
        let document = keys.predict(&signed, &root, &root, None, &[]).expect("not refused");
        assert_eq!(pcr7(&document) != Value::Null, known, "{key:?} {extra:?}");
        if known {
            assert_eq!(keys.authority(&signed, &root), [keys.entry("root")]);
            // A root of the same name that signed nothing.
            keys.self_signed("impostor", "root", &key, &[]);
            let impostor = keys.list("impostor");
            let reason = keys.refused_as(&signed, &impostor, &impostor, None, &[]);
            assert!(reason.contains("no certificate in db accounts for it"), "{reason}");
        }
    }
}

/// AWS's uefi-data as `virt-fw-vars` and AWS's own `uefivars` write it says what the variable store says that it was made of.
#[test]
fn uefi_data_is_read_like_the_store_that_it_was_made_of() {
    if skipped_without(&EFITOOLS) || skipped_without(&["virt-fw-vars", "uefivars"]) {
        return;
    }
    let Some(template) = ovmf("OVMF_VARS_4M.fd") else { return };
    let keys = Keys::make();
    let signed = keys.sign("one", &keys.unsigned(), "signed.efi");
    let (store, aws, own) = (keys.path("vars.fd"), keys.path("aws.b64"), keys.path("own.b64"));
    let mut command = Command::new("virt-fw-vars");
    command.arg("--input").arg(&template).arg("--output").arg(&store).arg("--output-aws").arg(&aws);
    for option in ["--set-pk", "--add-kek", "--add-db"] {
        command.args([option, OWNER]).arg(keys.path("one.crt"));
    }
    tool(command.arg("--sb"));
    tool(Command::new("uefivars").args(["-i", "edk2", "-o", "aws", "-I"]).arg(&store).arg("-O").arg(&own));
    let dictionary = dictionary();
    let predict = |variables: &Path, extra: &[&Path]| {
        let mut arguments: Vec<OsString> =
            vec!["predict".into(), signed.clone().into(), "--variables".into()];
        arguments.extend([variables.into(), "--json".into()]);
        for file in extra {
            arguments.extend(["--uefi-data-dictionary".into(), file.as_os_str().to_owned()]);
        }
        premeasure(&arguments)
    };
    let expected = pcr7(&predict(&store, &[]).json());
    assert_ne!(expected, Value::Null);
    for file in [&aws, &own] {
        assert_eq!(pcr7(&predict(file, &[&dictionary]).json()), expected, "{}", file.display());
        let run = predict(file, &[]);
        assert_eq!(run.code, Some(2));
        assert!(run.stderr.contains("--uefi-data-dictionary"), "{}", run.stderr);
        let run = predict(file, &[&fixture("README.md")]);
        assert_eq!(run.code, Some(2));
        // Something else that is cut short.
        let cut = keys.path("cut.b64");
        fs::write(&cut, &read(file)[..400]).expect("written");
        let run = predict(&cut, &[&dictionary]);
        assert!(run.stderr.contains("CRC-32C"), "{}", run.stderr);
    }
}

/// Recovery keys are no event of EDK2's; a firmware of which that is not known leaves PCR 7 open. Audit and deployed mode are none
/// either: without PK the state is off, whatever these say.
#[test]
fn recovery_keys_and_modes_are_not_measured_by_edk2() {
    if skipped_without(&EFITOOLS) {
        return;
    }
    let keys = Keys::make();
    let signed = keys.sign("one", &keys.unsigned(), "signed.efi");
    let one = keys.list("one");
    let plain = pcr7(&keys.predict(&signed, &one, &one, None, &[]).expect("it starts"));
    let dbr: [OsString; 2] = ["--dbr".into(), keys.list("two").into()];
    let document = keys.predict(&signed, &one, &one, None, &dbr).expect("it starts");
    assert_eq!(pcr7(&document), plain);
    assert!(document.to_string().contains("dbr-not-measured"));
    let generic = [dbr.as_slice(), &["--platform".into(), "generic-uefi".into()]].concat();
    let document = keys.predict(&signed, &one, &one, None, &generic).expect("it starts");
    assert_eq!(pcr7(&document), Value::Null);

    // efivarfs of a machine in audit mode: no PK, KEK and db are there, SecureBoot is 0.
    let folder = keys.path("efivars");
    fs::create_dir(&folder).expect("made");
    let variable = |name: &str, content: &[u8]| {
        fs::write(folder.join(name), [&[6, 0, 0, 0], content].concat()).expect("written");
    };
    variable("SecureBoot", &[0]);
    variable("SetupMode", &[1]);
    variable("KEK", &read(&one));
    variable("db", &read(&one));
    let predict = || {
        let folder = folder.clone().into_os_string();
        let arguments = [
            "predict".into(),
            keys.unsigned().into_os_string(),
            "--variables".into(),
            folder,
            "--json".into(),
        ];
        pcr7(&premeasure(arguments).json())
    };
    let expected = predict();
    let events = [
        var(&GLOBAL, "SecureBoot", &[0]),
        var(&GLOBAL, "PK", &[]),
        var(&GLOBAL, "KEK", &read(&one)),
        var(&DATABASE, "db", &read(&one)),
        var(&DATABASE, "dbx", &[]),
        vec![0; 4],
    ];
    let by_hand = events.iter().fold([0; 32].to_vec(), |value, event| {
        let event = Digest::of(HashAlgorithm::Sha256, event);
        Digest::of(HashAlgorithm::Sha256, &[&value, event.as_bytes()].concat()).as_bytes().to_vec()
    });
    assert_eq!(expected, Value::from(hex::encode(by_hand)));
    variable("AuditMode-8be4df61-93ca-11d2-aa0d-00e098032b8c", &[1]);
    variable("DeployedMode-8be4df61-93ca-11d2-aa0d-00e098032b8c", &[0]);
    assert_eq!(predict(), expected, "audit mode");
}

/// A recorded boot whose option ROM was let start by an entry of db: an image that the same entry lets start adds no event. Two logs
/// of the corpus have both images, and one authority (option-rom-sha1-windows, lenovo-sr635-two-boots).
#[test]
fn an_authority_that_a_baseline_shows_is_not_measured_again() {
    if skipped_without(&EFITOOLS) {
        return;
    }
    let keys = Keys::make();
    let signed = keys.sign("one", &keys.unsigned(), "signed.efi");
    let other = keys.sign("two", &keys.unsigned(), "other.efi");
    let db = keys.joined(&["one", "two"]);
    let log = keys.path("log.bin");
    let bank = HashAlgorithm::Sha256;
    let list = read(keys.list("one"));
    let mut bytes = premeasure::tcg::tcg2_writer::spec_id_record(&[bank]);
    let mut add = |pcr: u8, kind: u32, data: Vec<u8>| {
        let (pcr, kind) = (premeasure::tcg::PcrIndex::new(pcr), premeasure::tcg::EventType(kind));
        bytes.extend(premeasure::tcg::tcg2_writer::event2_record(
            pcr,
            kind,
            [Digest::of(bank, &data)],
            &data,
        ));
    };
    add(0, 8, vec![0, 0]);
    for (guid, name, data) in [
        (&GLOBAL, "SecureBoot", vec![1]),
        (&GLOBAL, "PK", list.clone()),
        (&GLOBAL, "KEK", list.clone()),
        (&DATABASE, "db", read(&db)),
        (&DATABASE, "dbx", Vec::new()),
    ] {
        add(7, 0x8000_0001, var(guid, name, &data));
    }
    add(7, 4, vec![0; 4]);
    add(7, 0x8000_00e0, var(&DATABASE, "db", &list[28..]));
    add(4, 0x8000_0007, b"Calling EFI Application from Boot Option".to_vec());
    (0..=6).for_each(|pcr| add(pcr, 4, vec![0; 4]));
    fs::write(&log, bytes).expect("written");
    for (image, authorities) in
        [(&signed, vec![keys.entry("one")]), (&other, vec![keys.entry("one"), keys.entry("two")])]
    {
        let mut arguments: Vec<OsString> =
            vec!["predict".into(), image.into(), "--baseline".into(), log.clone().into()];
        arguments.extend(["--bank".into(), "sha256".into(), "--json".into()]);
        assert_eq!(authorities_of(&premeasure(&arguments).json()), authorities);
    }
}

/// `EFI_GLOBAL_VARIABLE`.
const GLOBAL: [u8; 16] = *b"\x61\xdf\xe4\x8b\xca\x93\xd2\x11\xaa\x0d\x00\xe0\x98\x03\x2b\x8c";

/// Keys in a folder that goes away with the test.
struct Keys {
    folder: tempfile::TempDir,
}

impl Keys {
    /// Two certificates that are their own issuers, `one` and `two`.
    fn make() -> Self {
        let keys = Self { folder: tempfile::tempdir_in(scratch()).expect("a temporary folder") };
        for name in ["one", "two"] {
            keys.self_signed(name, name, &["rsa:2048".to_owned()], &[]);
        }
        keys
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn self_signed(&self, file: &str, name: &str, key: &[String], extra: &[String]) {
        let mut command = Command::new("openssl");
        command
            .args(["req", "-x509", "-nodes", "-days", "1", "-subj", &format!("/CN={name}"), "-newkey"])
            .args(key);
        command.args(extra).arg("-keyout").arg(self.path(&format!("{file}.key")));
        tool(command.arg("-out").arg(self.path(&format!("{file}.crt"))));
        let mut command = Command::new("openssl");
        command.args(["x509", "-outform", "DER", "-in"]).arg(self.path(&format!("{file}.crt")));
        tool(command.arg("-out").arg(self.path(&format!("{file}.der"))));
    }

    /// `root`, and `leaf`, which it signed with these options; the leaf's own key is RSA.
    fn root_and_leaf(&self, key: &[String], extra: &[String]) {
        self.self_signed("root", "root", key, extra);
        let mut command = Command::new("openssl");
        command.args(["req", "-nodes", "-subj", "/CN=leaf", "-newkey", "rsa:2048", "-keyout"]);
        tool(command.arg(self.path("leaf.key")).arg("-out").arg(self.path("leaf.csr")));
        let mut command = Command::new("openssl");
        command.args(["x509", "-req", "-days", "1", "-in"]).arg(self.path("leaf.csr")).args(extra).arg("-CA");
        command.arg(self.path("root.crt")).arg("-CAkey").arg(self.path("root.key")).arg("-CAcreateserial");
        tool(command.arg("-out").arg(self.path("leaf.crt")));
    }

    /// A certificate for time stamps, its key in `tsa.key`.
    fn timestamping(&self) -> PathBuf {
        let usage = ["-addext", "extendedKeyUsage=critical,timeStamping"].map(str::to_owned);
        self.self_signed("tsa", "tsa", &["rsa:2048".to_owned()], &usage);
        self.path("tsa.crt")
    }

    fn unsigned(&self) -> PathBuf {
        fixture("t-tiny-257/uki.efi")
    }

    fn sign(&self, key: &str, image: &Path, output: &str) -> PathBuf {
        let output = self.path(output);
        let mut command = Command::new("sbsign");
        command
            .arg("--key")
            .arg(self.path(&format!("{key}.key")))
            .arg("--cert")
            .arg(self.path(&format!("{key}.crt")));
        tool(command.arg("--output").arg(&output).arg(image));
        output
    }

    fn list(&self, name: &str) -> PathBuf {
        let output = self.path(&format!("{name}.esl"));
        let mut command = Command::new("cert-to-efi-sig-list");
        tool(command.args(["-g", OWNER]).arg(self.path(&format!("{name}.crt"))).arg(&output));
        output
    }

    fn joined(&self, names: &[&str]) -> PathBuf {
        let output = self.path(&format!("{}.lists", names.join("-")));
        let lists: Vec<u8> = names.iter().flat_map(|name| read(self.list(name))).collect();
        fs::write(&output, lists).expect("written");
        output
    }

    fn image_list(&self, image: &Path) -> PathBuf {
        let output = self.path("image.esl");
        tool(Command::new("hash-to-efi-sig-list").arg(image).arg(&output));
        output
    }

    /// What is measured when a certificate's entry lets an image start.
    fn entry(&self, name: &str) -> String {
        measured(&[&OWNER_BYTES[..], &read(self.path(&format!("{name}.der")))].concat())
    }

    fn predict(
        &self,
        image: &Path,
        pk: &Path,
        db: &Path,
        dbx: Option<&Path>,
        extra: &[OsString],
    ) -> Result<Value, String> {
        let mut arguments: Vec<OsString> =
            vec!["predict".into(), image.into(), "--secure-boot".into(), "on".into()];
        for (option, file) in [("--pk", pk), ("--kek", pk), ("--db", db)] {
            arguments.extend([option.into(), file.as_os_str().to_owned()]);
        }
        arguments.extend(["--dbx".into(), dbx.map_or("none".into(), |dbx| dbx.as_os_str().to_owned())]);
        arguments.extend(extra.iter().cloned());
        arguments.extend(["--bank".into(), "sha256".into(), "--json".into()]);
        let run = premeasure(&arguments);
        if run.code == Some(0) { Ok(run.json()) } else { Err(run.stderr) }
    }

    fn refused_as(
        &self,
        image: &Path,
        pk: &Path,
        db: &Path,
        dbx: Option<&Path>,
        extra: &[OsString],
    ) -> String {
        self.predict(image, pk, db, dbx, extra).expect_err("refused")
    }

    fn refused(&self, image: &Path, db: &Path, dbx: &Path, extra: &[OsString]) -> String {
        self.refused_as(image, &self.list("two"), db, Some(dbx), extra)
    }

    /// The digests of the authorities that an image is started by.
    fn authority(&self, image: &Path, db: &Path) -> Vec<String> {
        let mut pk = self.path("two.esl");
        if !pk.exists() {
            pk = self.list("two");
        }
        authorities_of(&self.predict(image, &pk, db, None, &[]).expect("it starts"))
    }
}

fn authorities_of(document: &Value) -> Vec<String> {
    let measurements = document["variants"][0]["measurements"].as_array().expect("measurements").iter();
    let authorities = measurements.filter(|m| m["event_type"] == "EV_EFI_VARIABLE_AUTHORITY");
    authorities.map(|m| m["digests"]["sha256"].as_str().expect("a digest").to_owned()).collect()
}

/// PCR 7 at the kernel's start, in SHA-256.
fn pcr7(document: &Value) -> Value {
    let pcrs = document["variants"][0]["pcrs"].as_array().expect("pcrs");
    let entry = pcrs.iter().find(|pcr| pcr["index"] == 7).expect("PCR 7");
    entry["values"][0]["digests"]["sha256"].clone()
}

/// `UEFI_VARIABLE_DATA`, written apart from the library's.
fn var(guid: &[u8; 16], name: &str, data: &[u8]) -> Vec<u8> {
    let units: Vec<u8> = name.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let lengths = [(units.len() / 2) as u64, data.len() as u64].map(u64::to_le_bytes).concat();
    [&guid[..], &lengths, &units, data].concat()
}

/// The digest of the authority event of an `EFI_SIGNATURE_DATA` in db.
fn measured(entry: &[u8]) -> String {
    Digest::of(HashAlgorithm::Sha256, &var(&DATABASE, "db", entry)).to_string()
}

/// A signature list of one entry.
fn list(kind: [u8; 16], content: &[u8]) -> Vec<u8> {
    let size = u32::try_from(content.len() + 16).expect("small");
    let sizes = [size + 28, 0, size].map(u32::to_le_bytes).concat();
    [&kind[..], &sizes, &OWNER_BYTES, content].concat()
}

/// `TBSCertificate` of a DER certificate: the first element in the outer sequence.
fn to_be_signed(der: &[u8]) -> Vec<u8> {
    assert_eq!((der[1], der[4], der[5]), (0x82, 0x30, 0x82), "lengths of two bytes");
    let length = usize::from(u16::from_be_bytes([der[6], der[7]]));
    der[4..8 + length].to_vec()
}

fn ovmf(name: &str) -> Option<PathBuf> {
    Some(Path::new("/usr/share/OVMF").join(name)).filter(|path| path.exists())
}

/// The dictionary that virt-firmware brings along.
fn dictionary() -> PathBuf {
    let program = fs::canonicalize(find_tool("virt-fw-vars").expect("installed")).expect("a file");
    let library = program.parent().and_then(Path::parent).expect("a venv").join("lib");
    let versions = fs::read_dir(library).expect("a folder").map(|entry| entry.expect("an entry").path());
    let files = versions.map(|version| version.join("site-packages/virt/firmware/aws/dict.v0"));
    files.into_iter().find(|file| file.exists()).expect("dict.v0")
}
