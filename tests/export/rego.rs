//! Trustee's side: our Rego policy in regorus, the engine that Trustee's attestation service uses, on claims in its shape.

use regorus::{Engine, Value as Rego};
use serde_json::{Value, json};

use crate::documents::{Doc, exported, folder, text};
use crate::support::premeasure;

/// The policy and the reference values of two releases, as exported.
struct Trustee {
    policy: String,
    values: Value,
}

impl Trustee {
    fn exported(accepted: &[&str]) -> Self {
        let part = |name: &str| {
            let mut arguments = vec!["--format", "trustee", "--part", name];
            arguments.extend(accepted);
            exported(&[Doc::Tiny257, Doc::Tiny262], &arguments)
        };
        Self {
            policy: String::from_utf8(part("policy")).expect("text"),
            values: serde_json::from_slice(&part("payload")).expect("JSON"),
        }
    }

    /// What the attestation service does: `query_reference_value` answers with the stored value, or null.
    fn claims(&self, evidence: &Value, also: Value) -> Result<Value, String> {
        let mut known = self.values.clone();
        for (name, value) in also.as_object().expect("an object") {
            known[name] = value.clone();
        }
        let mut engine = Engine::new();
        engine
            .add_policy("policy.rego".to_owned(), self.policy.clone())
            .map_err(|error| error.to_string())?;
        engine
            .add_extension(
                "query_reference_value".to_owned(),
                1,
                Box::new(move |arguments: Vec<Rego>| {
                    let name = arguments[0].as_string()?;
                    let value = known.get(name.as_ref()).cloned().unwrap_or(Value::Null);
                    Rego::from_json_str(&value.to_string())
                }),
            )
            .map_err(|error| error.to_string())?;
        engine.set_input(Rego::from_json_str(&evidence.to_string()).map_err(|error| error.to_string())?);
        let claims =
            engine.eval_rule("data.policy.trust_claims".to_owned()).map_err(|error| error.to_string())?;
        serde_json::from_str(&claims.to_json_str().map_err(|error| error.to_string())?)
            .map_err(|error| error.to_string())
    }

    fn boot(&self, number: usize) -> Value {
        self.values["premeasure_boot"][number].clone()
    }
}

/// Evidence of a bare TPM: all 24 PCRs, those of `boot` with its values.
fn evidence(boot: &Value) -> Value {
    let mut tpm = json!({ "ak_public": "AK" });
    for pcr in 0..24 {
        tpm[format!("pcr{pcr:02}")] = json!("ee".repeat(32));
    }
    for (name, value) in boot.as_object().expect("an object") {
        tpm[name] = value.clone();
    }
    json!({ "tpm": tpm, "init_data": "", "report_data": "" })
}

const ALL: &[&str] = &["--accept-assumption", "all"];

#[test]
fn each_release_is_affirmed_as_a_whole() {
    let trustee = Trustee::exported(ALL);
    for number in [0, 1] {
        let claims = trustee
            .claims(&evidence(&trustee.boot(number)), json!({ "trusted_aks": ["AK"] }))
            .expect("evaluates");
        assert_eq!(claims["executables"], 3, "release {number}");
        assert_eq!(claims["configuration"], 2, "release {number}");
        assert_eq!(claims["hardware"], 2, "release {number}");
    }
}

#[test]
fn a_mixture_of_two_releases_is_not_affirmed() {
    let trustee = Trustee::exported(ALL);
    let mut mixture = trustee.boot(0);
    mixture["pcr11"] = trustee.boot(1)["pcr11"].clone();
    let claims = trustee.claims(&evidence(&mixture), json!({ "trusted_aks": ["AK"] })).expect("evaluates");
    assert_eq!(claims["executables"], 33);
    assert_eq!(claims["configuration"], 36);
}

#[test]
fn any_altered_register_is_noticed() {
    let trustee = Trustee::exported(ALL);
    let boot = trustee.boot(0);
    for name in boot.as_object().expect("an object").keys() {
        let mut altered = boot.clone();
        altered[name] = json!("dd".repeat(32));
        let claims = trustee.claims(&evidence(&altered), json!({})).expect("evaluates");
        assert_eq!(claims["executables"], 33, "{name}");
    }
    let mut missing = evidence(&boot);
    missing["tpm"].as_object_mut().expect("an object").remove("pcr11");
    assert_eq!(trustee.claims(&missing, json!({})).expect("evaluates")["executables"], 33);
}

/// RVPS that was never fed, or holds something else under the name.
#[test]
fn missing_and_odd_reference_values_affirm_nothing_and_do_not_abort() {
    let trustee = Trustee::exported(ALL);
    let evidence = evidence(&trustee.boot(0));
    for odd in [Value::Null, json!([]), json!([{}]), json!({}), json!("x"), json!([null]), json!([["x"]])] {
        let claims = trustee
            .claims(&evidence, json!({ "premeasure_boot": odd }))
            .unwrap_or_else(|error| panic!("{odd}: {error}"));
        assert_eq!(claims["executables"], 33, "{odd}");
        assert_eq!(claims["configuration"], 36, "{odd}");
        assert_eq!(claims["hardware"], 97, "{odd}");
    }
}

/// A boot without a stub leaves PCR 11 as it was: the default policy's names, which it looks at alone, must not hold zeros.
#[test]
fn an_untouched_pcr_11_fills_no_name_of_the_default_policy() {
    let folder = folder("untouched-11");
    let document = folder.join("document.json");
    let mut value: Value = crate::support::read_json(Doc::Tiny257.path());
    without_pcr_11(&mut value);
    std::fs::write(&document, value.to_string()).expect("writable");
    let output = folder.join("trustee");
    let base = ["export", text(&document), "--format", "trustee", "--accept-assumption", "all"];
    let run = premeasure([&base[..], &["-o", text(&output)]].concat());
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    assert!(run.stderr.contains("tpm_pcr11, snp_pcr11, tdx_pcr11 have no value of"), "{}", run.stderr);
    let payload: Value = crate::support::read_json(output.join("rvps-payload.json"));
    assert_eq!(payload["premeasure_boot"][0]["pcr11"], "00".repeat(32));
    assert_eq!(payload.as_object().expect("an object").len(), 1, "{payload}");
    let coverage = String::from_utf8(crate::support::read(output.join("coverage.md"))).expect("text");
    assert!(coverage.contains("| `tpm_pcr11` | no |") && !coverage.contains("| yes |"), "{coverage}");
}

/// The document as if nothing were measured into PCR 11.
pub(crate) fn without_pcr_11(document: &mut Value) {
    let variant = &mut document["variants"][0];
    variant["measurements"].as_array_mut().expect("a list").retain(|measurement| measurement["pcr"] != 11);
    let pcr = &mut variant["pcrs"][11];
    pcr["status"] = json!("assumed-unused");
    for value in pcr["values"].as_array_mut().expect("values") {
        value["status"] = json!("assumed-unused");
        for digest in value["digests"].as_object_mut().expect("digests").values_mut() {
            *digest = json!("0".repeat(digest.as_str().expect("hex").len()));
        }
    }
}

/// PCRs that say nothing of what was started affirm no executables, whoever stored them.
#[test]
fn executables_need_pcr_4_or_11() {
    let trustee = Trustee::exported(ALL);
    let zeros = "00".repeat(32);
    for (stored, status) in [
        (json!({ "pcr12": zeros, "pcr13": zeros }), 33),
        (json!({ "pcr11": zeros, "pcr12": zeros }), 33),
        (json!({ "pcr11": trustee.boot(0)["pcr11"] }), 3),
        (json!({ "pcr04": trustee.boot(0)["pcr04"] }), 3),
    ] {
        let claims =
            trustee.claims(&evidence(&stored), json!({ "premeasure_boot": [stored] })).expect("evaluates");
        assert_eq!(claims["executables"], status, "{stored}");
    }
}

/// Without PCR 12 and 13 nobody knows which command line or credentials came along.
#[test]
fn the_configuration_is_not_affirmed_without_pcr_12_and_13() {
    let trustee = Trustee::exported(&[]);
    let claims =
        trustee.claims(&evidence(&trustee.boot(0)), json!({ "trusted_aks": ["AK"] })).expect("evaluates");
    assert_eq!(claims["executables"], 3);
    assert_eq!(claims["configuration"], 36);
}

#[test]
fn azure_evidence_needs_its_own_reference_values_too() {
    let trustee = Trustee::exported(ALL);
    let tpm = evidence(&trustee.boot(0))["tpm"].clone();
    let tdx = json!({ "az-tdx-vtpm": { "tpm": tpm, "quote": { "body": { "mr_td": "m", "xfam": "x" } } } });
    let claims = trustee.claims(&tdx, json!({})).expect("evaluates");
    assert_eq!(
        (&claims["executables"], &claims["hardware"], &claims["configuration"]),
        (&json!(3), &json!(97), &json!(36))
    );
    let claims = trustee.claims(&tdx, json!({ "mr_td": ["m"], "xfam": ["x"] })).expect("evaluates");
    assert_eq!(
        (&claims["executables"], &claims["hardware"], &claims["configuration"]),
        (&json!(3), &json!(2), &json!(2))
    );
}

#[test]
fn the_resource_policy_wants_every_part_affirming() {
    let policy =
        String::from_utf8(exported(&[Doc::Tiny257], &["--format", "trustee", "--part", "resource-policy"]))
            .expect("text");
    let allowed = |input: Value| {
        let mut engine = Engine::new();
        engine.add_policy("resource.rego".to_owned(), policy.clone()).expect("a policy");
        engine.set_input(Rego::from_json_str(&input.to_string()).expect("JSON"));
        engine.eval_rule("data.policy.allow".to_owned()).expect("evaluates") == Rego::from(true)
    };
    let part = |status: &str| json!({ "ear.status": status });
    assert!(allowed(json!({ "submods": { "cpu0": part("affirming") } })));
    assert!(allowed(json!({ "submods": { "cpu0": part("affirming"), "gpu0": part("affirming") } })));
    for input in [
        json!({ "submods": { "cpu0": part("warning") } }),
        json!({ "submods": { "cpu0": part("affirming"), "gpu0": part("contraindicated") } }),
        json!({ "submods": { "cpu0": {} } }),
        json!({ "submods": {} }),
        json!({}),
    ] {
        assert!(!allowed(input.clone()), "{input}");
    }
}
