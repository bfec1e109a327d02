//! What the machine sent. Whatever is wrong with it is the machine's fault: a refusal, not an error.

use std::borrow::Cow;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use anyhow::Context;

use super::VerifyArgs;
use crate::attest::{Code, Evidence, Quote, QuoteEvidence, Refusal, read_certificates, read_pcr_values};
use crate::capture::MAX_CAPTURE;
use crate::cli::log::MAX_LOG;
use crate::cli::output::hinted;

/// Largest quote, signature, certificate or list of PCR values, in bytes.
const MAX_SMALL: u64 = 1 << 20;

/// The files in memory; in the place of one that is too large, the refusal.
pub(super) struct Files {
    /// Evidence of some kind, or the quote.
    first: Sent,
    /// The quote's signature.
    signature: Option<Sent>,
    pcrs: Option<Sent>,
    logs: Vec<Sent>,
    intermediates: Vec<Sent>,
}

type Sent = Result<Vec<u8>, Refusal>;

impl Files {
    pub(super) fn read(args: &VerifyArgs) -> anyhow::Result<Self> {
        let Some(first) = args.evidence.as_ref().or(args.quote.as_ref()) else {
            return Err(hinted(
                "there is no evidence",
                "--quote and --signature name what tpm2_quote wrote, --evidence a file with everything",
            ));
        };
        let (limit, code) = match &args.evidence {
            Some(_) => (MAX_CAPTURE as u64, Code::EvidenceMalformed),
            None => (MAX_SMALL, Code::QuoteMalformed),
        };
        let signature = args.signature.as_ref().map(|path| sent(path, MAX_SMALL, Code::SignatureMalformed));
        let pcrs = args.pcrs.as_ref().map(|path| sent(path, MAX_SMALL, Code::PcrsMalformed));
        let log = |path| sent(path, MAX_LOG, Code::LogMalformed);
        let certificate = |path| sent(path, MAX_SMALL, Code::EvidenceMalformed);
        Ok(Self {
            first: sent(first, limit, code)?,
            signature: signature.transpose()?,
            pcrs: pcrs.transpose()?,
            logs: args.logs.iter().map(|path| log(path)).collect::<anyhow::Result<_>>()?,
            intermediates: args
                .intermediates
                .iter()
                .map(|path| certificate(path))
                .collect::<anyhow::Result<_>>()?,
        })
    }

    /// Takes the evidence apart.
    pub(super) fn evidence(&self) -> Result<Evidence<'_>, Refusal> {
        let mut evidence = match &self.signature {
            Some(signature) => Evidence::of_quote(self.quote(there(signature)?)?, Vec::new()),
            None => Evidence::read(there(&self.first)?)?,
        };
        for log in &self.logs {
            evidence.logs.push(Cow::Borrowed(there(log)?));
        }
        for file in &self.intermediates {
            let certificates = read_certificates(there(file)?)
                .map_err(|error| refusal(Code::EvidenceMalformed, format!("--intermediate: {error}")))?;
            evidence.intermediates.extend(certificates);
        }
        Ok(evidence)
    }

    fn quote<'a>(&'a self, signature: &'a [u8]) -> Result<QuoteEvidence<'a>, Refusal> {
        let message = there(&self.first)?;
        // A quote that can't be read is refused as such, later.
        let selection = Quote::read(message).map(|quote| quote.selection).unwrap_or_default();
        let values = match &self.pcrs {
            Some(pcrs) => {
                let values = read_pcr_values(there(pcrs)?, &selection);
                Some(values.map_err(|error| refusal(Code::PcrsMalformed, error.to_string()))?)
            }
            None => None,
        };
        Ok(QuoteEvidence { message: message.into(), signature: signature.into(), values })
    }
}

fn there(sent: &Sent) -> Result<&[u8], Refusal> {
    sent.as_deref().map_err(Clone::clone)
}

fn refusal(code: Code, detail: String) -> Refusal {
    Refusal { code, pcr: None, detail }
}

/// Reads a file, but never more than may be of it. A file that is not there is an error: the verifier named it.
fn sent(path: &Path, limit: u64, code: Code) -> anyhow::Result<Sent> {
    let bytes = read(path, limit).with_context(|| path.display().to_string())?;
    if bytes.len() as u64 > limit {
        return Ok(Err(refusal(code, format!("{}: more than {limit} bytes", path.display()))));
    }
    Ok(Ok(bytes))
}

/// At most one byte more than the limit.
fn read(path: &Path, limit: u64) -> anyhow::Result<Vec<u8>> {
    let most = limit.saturating_add(1);
    let mut bytes = Vec::new();
    if path.as_os_str() == "-" {
        io::stdin().lock().take(most).read_to_end(&mut bytes)?;
        return Ok(bytes);
    }
    let file = File::open(path)?;
    if file.metadata()?.is_dir() {
        return Err(hinted("is a directory", "name a file"));
    }
    file.take(most).read_to_end(&mut bytes)?;
    Ok(bytes)
}
