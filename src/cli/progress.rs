//! A progress bar on standard error, where somebody watches and the work is long.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Work below this many bytes is over before a bar would be seen.
const WORTH_SHOWING: u64 = 64 << 20;

/// A bar that counts bytes; it shows nothing when standard error is no terminal.
pub(super) struct Bar(ProgressBar);

impl Bar {
    pub(super) fn new() -> Self {
        Self(ProgressBar::with_draw_target(Some(0), ProgressDrawTarget::hidden()))
    }

    /// `total` bytes are ahead.
    pub(super) fn start(&self, total: u64) {
        if total < WORTH_SHOWING || !super::output::is_watched() {
            return;
        }
        self.0.set_draw_target(ProgressDrawTarget::stderr_with_hz(10));
        self.0.set_length(total);
        let style = ProgressStyle::with_template("hashing {wide_bar} {bytes}/{total_bytes} {bytes_per_sec}");
        if let Ok(style) = style {
            self.0.set_style(style);
        }
    }

    pub(super) fn advance(&self, bytes: u64) {
        self.0.inc(bytes);
    }

    pub(super) fn finish(&self) {
        self.0.finish_and_clear();
    }
}
