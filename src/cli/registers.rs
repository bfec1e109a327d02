//! `--registers` and `--declare`: the measurement registers of confidential guests.

use clap::{Args, ValueEnum};

use super::baseline::Recorded;
use super::output::hinted;
use crate::boot::{CcGuest, GuestSupport, Platform};
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
    /// What is known of the guest, repeatable: mrtd=HEX, rtmr0=HEX (as the firmware leaves it when the first boot option
    /// starts), separator=rtmr1 (EDK2 2024.11 and later) or separator=rtmr0
    #[arg(long = "declare", value_name = "NAME=VALUE", value_parser = parse, help_heading = "Machine")]
    declared: Vec<Fact>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Word {
    Pcr,
    Rtmr,
    Both,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fact {
    Mrtd(Digest),
    Rtmr0(Digest),
    Separator(MeasurementRegister),
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
        platform: Platform,
        banks: &[HashAlgorithm],
        recorded: &Recorded,
    ) -> anyhow::Result<CcGuest> {
        let registers = self.registers();
        if registers == Registers::Pcr {
            return match self.declared.is_empty() {
                true => Ok(CcGuest::default()),
                false => Err(hinted(
                    "--declare is about the registers of a confidential guest, PCRs are asked for",
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
        _ => Err(format!("'{text}' is none of mrtd=HEX, rtmr0=HEX, separator=rtmr0, separator=rtmr1")),
    }
}
