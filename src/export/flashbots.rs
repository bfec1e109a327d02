//! Flashbots' `cvm-reverse-proxy`: a list of boots, of which one has to agree as a whole.

use super::exporter::{Alternatives, BankRule, ExportError, Exporter, Output};
use super::json::{list, object};
use super::options::{OptionKind, OptionSpec};
use super::release::Export;
use crate::tcg::HashAlgorithm;

/// `proxy.AttestationType`: the proxy also knows `dcap-tdx`, whose registers are MRTD and RTMR 0 to 3 and no PCRs, and `auto`
/// and `none`, which are no kinds of evidence. `multimeasurements` passes over entries of another kind than the evidence's.
const ATTESTATION_TYPE: OptionSpec = OptionSpec::text(
    "attestation-type",
    "TYPE",
    "kind of attestation: azure-tdx, the only one of the proxy's that has PCRs (dcap-tdx has TDX registers)",
)
.kind(OptionKind::Choice(&["azure-tdx"]))
.default("azure-tdx");

/// Flashbots.
pub(super) const EXPORTER: Exporter = Exporter {
    name: "flashbots",
    summary: "measurements of cvm-reverse-proxy: a list of whole boots",
    reader: "Flashbots' cvm-reverse-proxy",
    fed: "--client-measurements or --server-measurements, as file or URL",
    limits: &["PCRs that are not listed are not looked at", "no warnings: everything listed is enforced"],
    bank: BankRule::Fixed(HashAlgorithm::Sha256),
    alternatives: Alternatives::Joint,
    options: &[ATTESTATION_TYPE],
    write,
    ..Exporter::BASE
};

fn write(export: &Export<'_>) -> Result<Output, ExportError> {
    let attestation_type = export.option("attestation-type")?;
    let items = export.distinct().into_iter().map(|release| {
        let map = release.enforced(HashAlgorithm::Sha256);
        let map = map.map(|(pcr, hex)| (pcr.to_string(), object([("expected", hex.into())])));
        object([
            ("measurement_id", (&release.id).into()),
            ("attestation_type", attestation_type.into()),
            ("measurements", object(map)),
        ])
    });
    Ok(Output::single("measurements.json", list(items).pretty()))
}
