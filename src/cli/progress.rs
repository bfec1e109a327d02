//! A progress bar on standard error, where somebody watches and the work is long.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Work below this many bytes is over before a bar would be seen.
const WORTH_SHOWING: u64 = 64 << 20;

/// A bar that counts bytes; it shows nothing when standard error is no terminal.
pub(super) struct Bar {
    bar: ProgressBar,
    what: &'static str,
}

impl Bar {
    pub(super) fn new() -> Self {
        Self::of("hashing")
    }

    /// A bar for work of this name.
    pub(super) fn of(what: &'static str) -> Self {
        Self { bar: ProgressBar::with_draw_target(Some(0), ProgressDrawTarget::hidden()), what }
    }

    /// `total` bytes are ahead.
    pub(super) fn start(&self, total: u64) {
        if total < WORTH_SHOWING || !super::output::is_watched() {
            return;
        }
        self.bar.set_draw_target(ProgressDrawTarget::stderr_with_hz(10));
        self.bar.set_length(total);
        self.bar.reset();
        let template = format!("{} {{wide_bar}} {{bytes}}/{{total_bytes}} {{bytes_per_sec}}", self.what);
        let style = ProgressStyle::with_template(&template);
        if let Ok(style) = style {
            self.bar.set_style(style);
        }
    }

    pub(super) fn advance(&self, bytes: u64) {
        self.bar.inc(bytes);
    }

    pub(super) fn finish(&self) {
        self.bar.finish_and_clear();
    }
}
