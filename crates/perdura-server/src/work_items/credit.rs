//! How much a worker wants at once.

use super::Kind;

/// Items of each kind that a worker may hold; `None` is without limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Credits([Option<u32>; 3]);

impl Credits {
    /// The credits of a request: on the wire 0 means "no limit", and many SDKs never say more. A negative number is
    /// read the same way.
    pub(crate) fn from_wire(orchestrations: i32, activities: i32, entities: i32) -> Credits {
        Credits([orchestrations, activities, entities].map(|n| u32::try_from(n).ok().filter(|n| *n != 0)))
    }

    /// Whether one that holds `held` items of a kind may have another.
    pub(crate) fn allow(&self, kind: Kind, held: u32) -> bool {
        self.0[kind as usize].is_none_or(|limit| held < limit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zero_and_less_mean_no_limit() {
        let credits = Credits::from_wire(0, 2, i32::MIN);
        assert!(credits.allow(Kind::Orchestration, u32::MAX));
        assert!(credits.allow(Kind::Activity, 1) && !credits.allow(Kind::Activity, 2));
        assert!(credits.allow(Kind::Entity, 1_000_000));
    }
}
