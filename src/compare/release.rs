//! Two releases: which PCRs change, and because of which component.
