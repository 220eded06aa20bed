//! How often each kind of event happened. A promise is tested only if the events that could break it happen.

/// How often each kind of event happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Events on the server.
    pub events: u64,
    /// Claims, including take-overs from a silent holder.
    pub claims: u64,
    /// Take-overs from a silent holder.
    pub takeovers: u64,
    /// Writes refused because they came too late.
    pub refused: u64,
    /// Checkpoints within an epoch.
    pub midway: u64,
    /// Moves by a worker on behalf of an earlier process of the same worker.
    pub adopted: u64,
    /// Results accepted from an attempt that had lost its job.
    pub late: u64,
    /// Second results that differ from the accepted one.
    pub contradicted: u64,
    /// Workers excluded.
    pub drained: u64,
    /// Jobs parked.
    pub parked: u64,
    /// Requests to change the sweep.
    pub requests: u64,
    /// Of these, carried out at least in part.
    pub met: u64,
    /// Of these, contradicted by a later one before their turn.
    pub superseded: u64,
    /// Results of jobs that ended early.
    pub early: u64,
    /// Jobs that went on after an early end.
    pub gone_on: u64,
}

impl std::ops::AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.events += other.events;
        self.claims += other.claims;
        self.takeovers += other.takeovers;
        self.refused += other.refused;
        self.midway += other.midway;
        self.adopted += other.adopted;
        self.late += other.late;
        self.contradicted += other.contradicted;
        self.drained += other.drained;
        self.parked += other.parked;
        self.requests += other.requests;
        self.met += other.met;
        self.superseded += other.superseded;
        self.early += other.early;
        self.gone_on += other.gone_on;
    }
}

impl std::fmt::Display for Counts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { events, claims, takeovers, refused, .. } = self;
        let Self { midway, adopted, late, contradicted, drained, parked, .. } = self;
        let Self { requests, met, superseded, early, gone_on, .. } = self;
        write!(
            f,
            "{events} events, {claims} claims, {takeovers} of them take-overs, {refused} writes refused, {midway} \
             checkpoints within an epoch, {adopted} moves for dead workers, {late} late results accepted, \
             {contradicted} contradicted, {drained} workers drained, {parked} jobs parked, {requests} requests, {met} of them \
             met and {superseded} superseded, {early} early ends, {gone_on} jobs went on after one"
        )
    }
}
