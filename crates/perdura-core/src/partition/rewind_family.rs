//! Rewinds that go from parents to their children, and from children to their parents.

use super::message::{Body, Message, RewindChild, RewindParent, StartChild};
use super::rewind::{Awaited, has_ended_badly};
use super::{Bug, EnvelopeId, Parked, Partition};
use crate::history::ParentLink;
use crate::id::InstanceKey;
use crate::rewind::{RewindOrder, RewindSpec, RewindTo};
use crate::status::{OnExisting, ReusePolicy, Status};
use bytes::Bytes;
use sha2::{Digest, Sha256};

impl Partition {
    /// A parent was rewound, and waits for its child. Says whether the message has been dealt with.
    pub(super) fn rewind_child(
        &mut self,
        message: &Message,
        envelope: Option<EnvelopeId>,
        receiver: Option<InstanceKey>,
    ) -> bool {
        let Some(Body::RewindChild(child)) = &message.body else { return true };
        let RewindChild { start: Some(start), order: Some(order), again } = &**child else { return true };
        let Some(link) = &start.parent else { return true };
        let own = receiver.filter(|key| self.is_child_of_run(*key, link));
        let Some((key, instance)) = own.and_then(|key| self.instances.get(&key).map(|i| (key, i))) else {
            // Purged, or the id is somebody else's: the rule of every start decides.
            self.start_child(&message.receiver(), start.clone(), receiver);
            return true;
        };
        // What it is asked for now is not what it was made for on a branch that its parent has left.
        let made_for = &instance.record.made_for;
        let takes_any = ReusePolicy::from_bits(start.reuse).on(instance.status) == OnExisting::UseExisting;
        let is_of_other = !made_for.is_empty() && *made_for != digest(start.input.as_ref()) && !takes_any;
        if *again || is_of_other {
            self.begin_anew(key, Parked::Message(message.clone(), envelope), start, order);
            return false;
        }
        if instance.is_active() {
            self.relink(key, link);
            return true;
        }
        if instance.status == Status::Completed {
            let output = instance.record.output.clone();
            self.answer_parent(link.clone(), output, None);
            return true;
        }
        if self.planted(Bug::RewindLeavesChildren) {
            return true;
        }
        let spec = RewindSpec { order: order.clone(), ..RewindSpec::default() };
        let asked = Parked::Message(message.clone(), envelope);
        self.await_history(key, Awaited::new(asked, spec, false));
        false
    }

    /// A parent that was rewound asks for a child that it had on a branch which it has left: the child begins anew, and
    /// its history stays, too. Says whether the message has been dealt with.
    pub(super) fn start_again(
        &mut self,
        message: &Message,
        envelope: Option<EnvelopeId>,
        receiver: Option<InstanceKey>,
    ) -> bool {
        let Some(Body::StartChild(start)) = &message.body else { return true };
        let (Some(key), Some(link)) = (receiver, &start.parent) else { return true };
        let Some(instance) = self.instances.get(&key).filter(|_| self.is_of_left_branch(receiver, link))
        else {
            return true;
        };
        if (&instance.record.name, &instance.record.version) != (&start.name, &start.version) {
            return true;
        }
        let order = start.order.clone().unwrap_or_default();
        self.begin_anew(key, Parked::Message(message.clone(), envelope), start, &order);
        false
    }

    fn begin_anew(&mut self, key: InstanceKey, asked: Parked, start: &StartChild, order: &RewindOrder) {
        let order = RewindOrder { no_reuse: true, rerun: Vec::new(), with_parents: false, ..order.clone() };
        let (to, input) = (RewindTo::Beginning, Some(start.input.clone()));
        let spec = RewindSpec { order, to, input, force: true, ..RewindSpec::default() };
        self.await_history(key, Awaited::new(asked, spec, true));
    }

    /// A child was rewound, and takes its parent along if that one failed with it. Says whether the message has been
    /// dealt with.
    pub(super) fn rewind_parent(
        &mut self,
        message: &Message,
        envelope: Option<EnvelopeId>,
        receiver: Option<InstanceKey>,
    ) -> bool {
        let Some(Body::RewindParent(body)) = &message.body else { return true };
        let RewindParent { link: Some(link), order: Some(order) } = &**body else { return true };
        let Some((key, instance)) = receiver.and_then(|key| self.instances.get(&key).map(|i| (key, i)))
        else {
            return true;
        };
        let record = &instance.record;
        let same_run = record.generation == link.generation && record.execution == link.execution;
        if !same_run || !has_ended_badly(instance.status) {
            return true;
        }
        let spec =
            RewindSpec { order: order.clone(), to: RewindTo::Child(link.task), ..RewindSpec::default() };
        let asked = Parked::Message(message.clone(), envelope);
        self.await_history(key, Awaited::new(asked, spec, false));
        false
    }

    fn relink(&mut self, key: InstanceKey, link: &ParentLink) {
        if let Some(instance) = self.instances.get_mut(&key) {
            instance.relink(link);
        }
        self.mark_dirty(key);
        self.look_for_cycle(key, link.clone());
    }
}

/// By what a child is known to have been made for another input: SHA-256.
pub(super) fn digest(input: Option<&Bytes>) -> Bytes {
    Bytes::copy_from_slice(&Sha256::digest(input.map_or(&[][..], |input| input)))
}
