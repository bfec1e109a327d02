//! The machine around a boot: its recorded platform, its Secure Boot variables, its firmware. All that is known of these has
//! to fit together before anything is predicted.

use std::sync::Arc;

use super::secure_boot::{self, SecureBootContradiction};
use super::{PredictError, Request};
use crate::boot::{
    CloudFacts, RecordedPlatform, Scenario, SecureBootPolicy, SecureBootSupport, VariableSource,
};
use crate::secure_boot::{Content, Key, LogVariableError, SecureBootVariables};
use crate::tcg::{Digest, EventType, HashAlgorithm, PcrIndex};

/// A baseline that is of another machine, or of the same one in another state: the assumption that fails.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BaselineMismatch {
    /// Secure Boot was in another state.
    #[error(
        "baseline {logs}: recorded with Secure Boot {}, which is not the state asked for; PCR 4, 5 and 7 depend on it",
        if *recorded { "on" } else { "off" }
    )]
    SecureBoot {
        /// The logs' names.
        logs: String,
        /// The state in which they were recorded.
        recorded: bool,
    },
    /// A variable had another content.
    #[error("baseline {logs}: variable {} is not the one given with --variables or as a file", key.name())]
    Variable {
        /// The logs' names.
        logs: String,
        /// The variable.
        key: Key,
    },
    /// What is known of the machine otherwise is of another one.
    #[error(
        "baseline {logs}: variable {variable} is not that of {other}, so they are of different machines or states"
    )]
    OtherMachine {
        /// The logs' names.
        logs: String,
        /// What it was held against.
        other: String,
        /// The variable.
        variable: &'static str,
    },
    /// The firmware is another build.
    #[error(
        "baseline {logs}: recorded with another firmware: no event in PCR 0 is the digest of the image's volume DXEFV"
    )]
    Firmware {
        /// The logs' names.
        logs: String,
    },
    /// The platform is another one.
    #[error("baseline {logs}: not of platform {platform}: {why}")]
    Platform {
        /// The logs' names.
        logs: String,
        /// The platform that was asked for.
        platform: &'static str,
        /// What gives it away.
        why: String,
    },
    /// It lacks a bank.
    #[error("baseline {logs}: has no bank {bank}")]
    Bank {
        /// The logs' names.
        logs: String,
        /// The bank.
        bank: HashAlgorithm,
    },
    /// Its variables can't be used.
    #[error("baseline {logs}: {error}")]
    Log {
        /// The logs' names.
        logs: String,
        /// Why.
        error: LogVariableError,
    },
}

/// One machine that the image may boot on.
pub(super) struct Setting {
    /// The platform as recorded.
    pub(super) recorded: Option<Arc<RecordedPlatform>>,
    policy: Option<Arc<SecureBootPolicy>>,
    /// State of Secure Boot, if anything decides it.
    pub(super) state: Option<bool>,
}

impl Setting {
    /// The machines: one, or one for each baseline that differs.
    pub(super) fn all(request: &Request) -> Result<Vec<Self>, PredictError> {
        if request.baselines.is_empty() {
            let state =
                secure_boot::state(request, request.variables.as_ref().map(|known| &known.variables))?;
            let policy = secure_boot::policy(request, request.variables.clone(), state)?;
            return Ok(vec![Self { recorded: None, policy, state }]);
        }
        request.baselines.iter().map(|recorded| Self::recorded(request, recorded)).collect()
    }

    fn recorded(request: &Request, recorded: &RecordedPlatform) -> Result<Self, PredictError> {
        check_banks(request, recorded)?;
        check_firmware(request, recorded)?;
        check_platform(request, recorded)?;
        let logged = match recorded.part.variables() {
            Ok(variables) => Some(variables),
            Err(LogVariableError::None) => None,
            Err(error) => return Err(BaselineMismatch::Log { logs: recorded.names(), error }.into()),
        };
        let given = request.variables.as_ref().map(|known| &known.variables);
        if let (Some(logged), Some(given)) = (&logged, given) {
            check_variables(logged, given, recorded)?;
        }
        if let (Some(asked), Some(found)) = (request.secure_boot, logged.as_ref().and_then(|v| v.state()))
            && asked != found
        {
            return Err(BaselineMismatch::SecureBoot { logs: recorded.names(), recorded: found }.into());
        }
        let policy = match logged {
            Some(mut variables) => {
                // The log has no variable of shim's that shim did not measure.
                variables.shim = given.map(|given| given.shim.clone()).unwrap_or_default();
                let source = recorded
                    .inputs
                    .first()
                    .map_or(VariableSource::Declared, |input| VariableSource::Observed(*input));
                Some(SecureBootPolicy { variables, source, ..SecureBootPolicy::default() })
            }
            None => request.variables.clone(),
        };
        let state = secure_boot::state(request, policy.as_ref().map(|known| &known.variables))?;
        let policy = secure_boot::policy(request, policy, state)?;
        Ok(Self { recorded: Some(Arc::new(recorded.clone())), policy, state })
    }

    /// Each boot on this machine, with what its firmware's support of Secure Boot may be: known, or one of two.
    pub(super) fn apply(&self, request: &Request, scenario: Scenario) -> Vec<Scenario> {
        let by_firmware = request.scenario.firmware.as_ref().map(|firmware| firmware.secure_boot);
        let by_variables = self.policy.as_ref().and_then(|policy| policy.variables.supported());
        let known = by_firmware.or(by_variables).or(request.scenario.platform.secure_boot);
        let choices: &[SecureBootSupport] = match known {
            Some(true) => &[SecureBootSupport::Present],
            Some(false) => &[SecureBootSupport::Absent],
            None if self.policy.is_none() || self.recorded.is_some() || scenario.secure_boot => {
                &[SecureBootSupport::Present]
            }
            None => &[SecureBootSupport::AssumedPresent, SecureBootSupport::AssumedAbsent],
        };
        let with = |support: &SecureBootSupport| Scenario {
            secure_boot_support: *support,
            secure_boot_policy: self.policy.clone(),
            baseline: self.recorded.clone(),
            ..scenario.clone()
        };
        let boots = choices.iter().map(with);
        if scenario.cloud.vm_id.is_none() {
            return boots.collect();
        }
        // Newer firmware of Hyper-V's measures one event more; which one runs is not for an image to say.
        let measuring = |measures_architecture: bool, boot: &Scenario| Scenario {
            cloud: CloudFacts { measures_architecture, ..boot.cloud.clone() },
            ..boot.clone()
        };
        boots.flat_map(|boot| [false, true].map(|measures| measuring(measures, &boot))).collect()
    }
}

fn check_banks(request: &Request, recorded: &RecordedPlatform) -> Result<(), BaselineMismatch> {
    match request.banks.iter().find(|bank| !recorded.part.banks.contains(bank)) {
        Some(bank) => Err(BaselineMismatch::Bank { logs: recorded.names(), bank: *bank }),
        None => Ok(()),
    }
}

/// The volume of DXE drivers is measured as it stands in the image, so its digest tells builds apart.
fn check_firmware(request: &Request, recorded: &RecordedPlatform) -> Result<(), BaselineMismatch> {
    if recorded.is_cc() {
        return Ok(());
    }
    let Some(volume) = request.scenario.firmware.as_ref().and_then(|firmware| firmware.dxefv.as_ref()) else {
        return Ok(());
    };
    let measures = |event: &crate::baseline::PlatformEvent| {
        event.digests.iter().any(|digest| Digest::of(digest.algorithm(), volume) == digest)
    };
    if recorded.part.unstable.contains(&PcrIndex::new(0)) || recorded.part.of(PcrIndex::new(0)).any(measures)
    {
        return Ok(());
    }
    Err(BaselineMismatch::Firmware { logs: recorded.names() })
}

fn check_platform(request: &Request, recorded: &RecordedPlatform) -> Result<(), BaselineMismatch> {
    let platform = request.scenario.platform;
    let Some(expected) = &platform.firmware_version else { return Ok(()) };
    let version =
        recorded.part.of(PcrIndex::new(0)).find(|event| event.event_type == EventType::S_CRTM_VERSION);
    let text = version.and_then(|event| event.data.as_deref()).map(crate::uefi::text::utf16_to_nul);
    match text {
        Some(text) if !text.starts_with(expected.as_str()) => Err(BaselineMismatch::Platform {
            logs: recorded.names(),
            platform: &platform.id,
            why: format!("its firmware calls itself '{text}', not '{expected}...'"),
        }),
        _ => Ok(()),
    }
}

fn check_variables(
    logged: &SecureBootVariables,
    given: &SecureBootVariables,
    recorded: &RecordedPlatform,
) -> Result<(), PredictError> {
    for key in Key::ALL {
        let (one, other) = (logged.key(key), given.key(key));
        if *one != Content::Unknown && *other != Content::Unknown && one != other {
            return Err(BaselineMismatch::Variable { logs: recorded.names(), key }.into());
        }
    }
    match (logged.state(), given.state()) {
        (Some(one), Some(other)) if one != other => Err(SecureBootContradiction::Variables(one).into()),
        _ => Ok(()),
    }
}
