//! What a machine's variables and firmware say about Secure Boot, before anything is predicted.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{PredictError, Request};
use crate::boot::{BootChain, InputId, NamedImage, SecureBootPolicy};
use crate::hashing::DigestPlan;
use crate::pe::{PeError, PeImage, authenticode_segments};
use crate::secure_boot::{
    Database, Databases, Key, SecureBootVariables, Shim, ShimDatabases, algorithms_needed, judge,
    judge_by_shim,
};
use crate::tcg::DigestSet;

/// Statements about Secure Boot that exclude each other.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SecureBootContradiction {
    /// The variables say otherwise.
    #[error("Secure Boot is asked for as {}, but the machine's variables make it {}", word(*.0), word(!*.0))]
    Variables(bool),
    /// The firmware can't.
    #[error("Secure Boot is asked for as on, but the firmware image is built without it")]
    Firmware,
    /// A variable is not what it should be.
    #[error("variable {}: {error}", key.name())]
    Variable {
        /// Which.
        key: Key,
        /// What is wrong with it.
        error: crate::bytes::ParseError,
    },
}

fn word(state: bool) -> &'static str {
    if state { "on" } else { "off" }
}

/// The state of Secure Boot, if anything decides it.
pub(super) fn state(
    request: &Request,
    variables: Option<&SecureBootVariables>,
) -> Result<Option<bool>, SecureBootContradiction> {
    let asked = request.secure_boot;
    let by_variables = variables.and_then(SecureBootVariables::state);
    let supported = request.scenario.firmware.as_ref().map(|firmware| firmware.secure_boot);
    match (asked, by_variables, supported) {
        (Some(true), _, Some(false)) => Err(SecureBootContradiction::Firmware),
        (_, _, Some(false)) => Ok(Some(false)),
        (Some(asked), Some(found), _) if asked != found => Err(SecureBootContradiction::Variables(asked)),
        (asked, found, _) => Ok(asked.or(found)),
    }
}

/// The policy of the boots to come: variables, and verdicts about the images where Secure Boot may be on.
pub(super) fn policy(
    request: &Request,
    known: Option<SecureBootPolicy>,
    state: Option<bool>,
) -> Result<Option<Arc<SecureBootPolicy>>, PredictError> {
    let Some(mut policy) = known else { return Ok(None) };
    let wrong = |(key, error)| SecureBootContradiction::Variable { key, error };
    policy.variables.check().map_err(wrong)?;
    if state != Some(false)
        && let Some(databases) = policy.variables.databases().map_err(wrong)?
    {
        policy.verdicts =
            verdicts(&request.chain, &databases, |image, digests| judge(image, digests, &databases))?;
        if let Some(lists) = shim_lists(&request.chain, &policy, &databases) {
            policy.shim_verdicts =
                verdicts(&request.chain, &databases, |image, digests| judge_by_shim(image, digests, &lists))?;
        }
    }
    Ok(Some(Arc::new(policy)))
}

/// The lists that shim goes by, where there is a shim.
fn shim_lists(chain: &BootChain, policy: &SecureBootPolicy, firmware: &Databases) -> Option<ShimDatabases> {
    let shim = Shim::of(&chain.shim.as_ref()?.image).ok().flatten()?;
    let state = shim.state(&policy.variables);
    let keys = Database::parse(&shim.mok_list(state.keys.bytes()?)).ok()?;
    let revoked = Database::parse(&shim.mok_list_x(state.revocations.bytes()?)).ok()?;
    let vendor_db = Database::parse(shim.vendor_db()).ok()?;
    Some(ShimDatabases {
        db: firmware.db.clone(),
        vendor_db,
        keys,
        revoked: firmware.dbx.clone().with(revoked),
    })
}

/// The verdict about each image that is loaded. Costs a pass over the images of its own: what is measured depends on it.
fn verdicts<T>(
    chain: &BootChain,
    databases: &Databases,
    judge: impl Fn(&PeImage, &DigestSet) -> Result<T, PeError>,
) -> Result<BTreeMap<InputId, T>, PredictError> {
    let algorithms = algorithms_needed(databases);
    let mut plan = DigestPlan::new();
    let mut planned: Vec<(&NamedImage, _)> = Vec::new();
    for image in super::images(chain) {
        // What can't be hashed can't be loaded either; the replay says so.
        if let Ok(segments) = authenticode_segments(&image.image) {
            planned.push((image, plan.add(segments)));
        }
    }
    let digests = plan.compute(&algorithms, &|_| ()).map_err(|error| super::name_file(chain, error))?;
    let judged = planned.into_iter().map(|(image, stream)| {
        let digests = digests.get(stream).cloned().unwrap_or_default();
        Ok((image.input, judge(&image.image, &digests)?))
    });
    judged.collect()
}
