//! `--registers` and `--declare`: the measurement registers of confidential guests.

use clap::{Args, ValueEnum};

use super::baseline::Recorded;
use super::output::hinted;
use crate::boot::{CcGuest, CloudFacts, GuestSupport, Platform, Technology, VmId};
use crate::prediction::Registers;
use crate::tcg::eventlog::MeasurementRegister;
use crate::tcg::{Digest, HashAlgorithm};

/// Which registers are predicted.
#[derive(Debug, Args)]
pub(super) struct RegisterArgs {
    /// Registers to predict: PCRs of a TPM, the measurement registers of a confidential guest without one (Intel TDX), or both
    /// of a guest that has both
    #[arg(long, value_enum, default_value = "pcr", value_name = "WHICH", help_heading = "Machine")]
    registers: Word,
    /// What is known of the machine, repeatable. Of a confidential guest's registers: mrtd=HEX, rtmr0=HEX (as the firmware
    /// leaves it when the first boot option starts), separator=rtmr1 (EDK2 2024.11 and later) or separator=rtmr0. Of Google's
    /// machines: technology=none, sev, sev-es, sev-snp or tdx, and firmware=v1 or v2. Of Azure's: vm-id=UUID
    #[arg(long = "declare", value_name = "NAME=VALUE", value_parser = parse, help_heading = "Machine")]
    declared: Vec<Fact>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Word {
    Pcr,
    Rtmr,
    Both,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Fact {
    Mrtd(Digest),
    Rtmr0(Digest),
    Separator(MeasurementRegister),
    Technology(Technology),
    Firmware(u8),
    VmId(VmId),
}

impl Fact {
    fn word(&self) -> &'static str {
        match self {
            Self::Mrtd(_) => "mrtd",
            Self::Rtmr0(_) => "rtmr0",
            Self::Separator(_) => "separator",
            Self::Technology(_) => "technology",
            Self::Firmware(_) => "firmware",
            Self::VmId(_) => "vm-id",
        }
    }

    /// About the registers of a confidential guest.
    fn of_guest(&self) -> bool {
        matches!(self, Self::Mrtd(_) | Self::Rtmr0(_) | Self::Separator(_))
    }
}

impl RegisterArgs {
    pub(super) fn registers(&self) -> Registers {
        match self.registers {
            Word::Pcr => Registers::Pcr,
            Word::Rtmr => Registers::Rtmr,
            Word::Both => Registers::Both,
        }
    }

    /// What is known of the guest; it has to fit what else was given.
    pub(super) fn guest(
        &self,
        platform: &Platform,
        banks: &[HashAlgorithm],
        recorded: &Recorded,
    ) -> anyhow::Result<CcGuest> {
        let registers = self.registers();
        if registers == Registers::Pcr {
            return match self.declared.iter().find(|fact| fact.of_guest()) {
                None => Ok(CcGuest::default()),
                Some(fact) => Err(hinted(
                    format!(
                        "--declare {} is about the registers of a confidential guest, PCRs are asked for",
                        fact.word()
                    ),
                    "--registers rtmr or both",
                )),
            };
        }
        if platform.guest_registers == GuestSupport::Unused {
            return Err(hinted(
                format!("guests of platform {platform} don't use measurement registers: they stay zero"),
                "predict the PCRs of their TPM, without --registers",
            ));
        }
        if registers == Registers::Rtmr && !banks.is_empty() && banks != [MeasurementRegister::BANK] {
            return Err(hinted(
                "--bank: the registers of a confidential guest are SHA-384",
                "leave out --bank, or take --registers both",
            ));
        }
        let mut guest = CcGuest::default();
        for fact in &self.declared {
            match fact {
                Fact::Mrtd(value) => guest.mrtd = once(guest.mrtd, *value, "mrtd")?,
                Fact::Rtmr0(value) => guest.rtmr0 = once(guest.rtmr0, *value, "rtmr0")?,
                Fact::Separator(value) => guest.separator = once(guest.separator, *value, "separator")?,
                Fact::Technology(_) | Fact::Firmware(_) | Fact::VmId(_) => {}
            }
        }
        if !recorded.guest.is_empty() && (guest.rtmr0.is_some() || guest.separator.is_some()) {
            return Err(hinted(
                "--declare rtmr0 or separator beside a baseline of the guest: the log has it",
                "leave out one of them",
            ));
        }
        Ok(guest)
    }

    /// What is known of a provider's machine; the platform has to be one whose firmware measures that.
    pub(super) fn cloud(&self, platform: &Platform, recorded: &Recorded) -> anyhow::Result<CloudFacts> {
        let mut facts = CloudFacts::default();
        for fact in self.declared.iter().filter(|fact| !fact.of_guest()) {
            let word = fact.word();
            if !platform.declarable.is_some_and(|declarable| declarable.words().contains(&word)) {
                let by = Platform::all().iter().find(|platform| {
                    platform.declarable.is_some_and(|declarable| declarable.words().contains(&word))
                });
                return Err(hinted(
                    format!("--declare {word}: the firmware of platform {platform} does not measure that"),
                    format!("--platform {}", by.map_or("NAME", |platform| platform.id.as_str())),
                ));
            }
            if !recorded.pcrs.is_empty() {
                return Err(hinted(
                    format!("--declare {word} beside a baseline: the log has it"),
                    "leave out one of them",
                ));
            }
            match fact {
                Fact::Technology(value) => facts.technology = once(facts.technology, *value, word)?,
                Fact::Firmware(value) => facts.firmware = once(facts.firmware, *value, word)?,
                Fact::VmId(value) => facts.vm_id = once(facts.vm_id, value.clone(), word)?,
                Fact::Mrtd(_) | Fact::Rtmr0(_) | Fact::Separator(_) => {}
            }
        }
        let other = facts.technology.filter(|technology| *technology != Technology::Tdx);
        if let Some(technology) = other.filter(|_| self.registers() != Registers::Pcr) {
            return Err(hinted(
                format!("--declare technology={technology}: only guests of TDX have measurement registers"),
                "leave out --registers",
            ));
        }
        if facts.firmware.is_some() && facts.technology.is_none() && self.registers() != Registers::Both {
            return Err(hinted(
                "--declare firmware: PCR 0 depends on the technology, too",
                "--declare technology=none, sev, sev-es, sev-snp or tdx",
            ));
        }
        Ok(facts)
    }
}

fn once<T>(known: Option<T>, value: T, name: &str) -> anyhow::Result<Option<T>> {
    anyhow::ensure!(known.is_none(), "--declare {name} is given twice");
    Ok(Some(value))
}

fn parse(text: &str) -> Result<Fact, String> {
    let value = |digits: &str| {
        let bytes = hex::decode(digits).ok();
        let value = bytes.and_then(|bytes| Digest::from_bytes(MeasurementRegister::BANK, &bytes));
        value.ok_or_else(|| format!("'{digits}' is no register: 96 hexadecimal digits are expected"))
    };
    match text.split_once('=') {
        Some(("mrtd", digits)) => value(digits).map(Fact::Mrtd),
        Some(("rtmr0", digits)) => value(digits).map(Fact::Rtmr0),
        Some(("separator", "rtmr0")) => Ok(Fact::Separator(MeasurementRegister::RTMR0)),
        Some(("separator", "rtmr1")) => Ok(Fact::Separator(MeasurementRegister::RTMR1)),
        Some(("technology", word)) => word.parse().map(Fact::Technology),
        Some(("firmware", "v1")) => Ok(Fact::Firmware(1)),
        Some(("firmware", "v2")) => Ok(Fact::Firmware(2)),
        Some(("vm-id", id)) => id.parse().map(Fact::VmId),
        _ => Err(format!(
            "'{text}' is none of mrtd=HEX, rtmr0=HEX, separator=rtmr0, separator=rtmr1, technology=WORD, firmware=v1, \
             firmware=v2, vm-id=UUID"
        )),
    }
}
