//! Scores that come into the books of a server in memory.

use memory_server::MemoryServer;
use shared::protocol::EnsembleState;

use super::*;
use crate::ensemble::live::tests::{Stored, all, best, finished, id, plan};

const LIMIT: Duration = Duration::from_mins(1);

fn bus() -> Bus {
    MemoryServer::start(0, None, None).connect("test").0
}

fn begin(bus: &Bus, role: Role) -> Scoring {
    let predictions: Box<dyn Predictions + Send> = Box::new(Stored::new());
    Scoring::begin(bus.clone(), &plan(vec![all()]), Vec::new(), Some(predictions), role)
}

/// Scores until the books have what is wanted.
async fn until_books_have(
    scoring: &mut Scoring,
    bus: &Bus,
    wanted: impl Fn(&Scoreboard) -> bool,
) -> Scoreboard {
    let look = async {
        loop {
            if let Some(board) = bus.scoreboard("s").await.unwrap().filter(&wanted) {
                return board;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::select! {
        never = scoring.run() => match never {},
        board = tokio::time::timeout(LIMIT, look) => board.expect("the books do not have it"),
    }
}

fn members(board: &Scoreboard, name: &str) -> usize {
    match board.of(name).map(|ensemble| &ensemble.state) {
        Some(EnsembleState::Provisional { members, .. } | EnsembleState::Final { members, .. }) => *members,
        Some(EnsembleState::Waiting | EnsembleState::Unscored { .. }) | None => 0,
    }
}

#[tokio::test(start_paused = true)]
async fn the_scoreboard_follows_the_results_and_the_plan() {
    let bus = bus();
    let mut scoring = begin(&bus, Role::Conducting);
    let board = until_books_have(&mut scoring, &bus, |board| !board.ensembles.is_empty()).await;
    assert_eq!((members(&board, "All"), board.ensembles[0].waiting), (0, 3));
    for n in 1..=2 {
        scoring.take(id(n), Candidate::Finished(finished(1, 1.0)));
    }
    let board = until_books_have(&mut scoring, &bus, |board| members(board, "All") == 2).await;
    assert_eq!(board.ensembles[0].waiting, 1);

    // An edit costs no training, and no pause.
    let edited = Instant::now();
    scoring.follow(&plan(vec![best()]), BTreeSet::new());
    let board = until_books_have(&mut scoring, &bus, |board| members(board, "Best") == 1).await;
    assert!(edited.elapsed() < PAUSE && board.of("All").is_none(), "{:?}", edited.elapsed());

    scoring.take(id(3), Candidate::Finished(finished(1, 2.0)));
    let last = scoring.end().await;
    let val_macro_f1 = Stored::new().reported(&[3]);
    assert_eq!(last.as_ref().unwrap().ensembles[0].state, EnsembleState::Final { members: 1, val_macro_f1 });
    assert_eq!(bus.scoreboard("s").await.unwrap(), last);

    // Without ensembles, nothing is left in the books.
    scoring.follow(&plan(vec![]), BTreeSet::new());
    assert_eq!(scoring.end().await, Some(Scoreboard::default()));
    assert_eq!(bus.scoreboard("s").await.unwrap(), None);
}

#[tokio::test(start_paused = true)]
async fn a_run_that_follows_writes_nothing_and_knows_everything_when_it_takes_over() {
    let bus = bus();
    let mut scoring = begin(&bus, Role::Following);
    for n in 1..=3 {
        scoring.take(id(n), Candidate::Finished(finished(1, 1.0)));
    }
    let some_time = tokio::time::timeout(5 * PAUSE, scoring.run()).await;
    assert!(some_time.is_err() && bus.scoreboard("s").await.unwrap().is_none());
    assert_eq!(scoring.end().await, None);
    scoring.conduct(Role::Conducting);
    until_books_have(&mut scoring, &bus, |board| members(board, "All") == 3).await;
}

/// A vote that takes long is followed by a long pause, but not when the run ends.
#[tokio::test(start_paused = true)]
async fn the_last_result_is_scored_even_while_a_long_vote_is_under_way() {
    let bus = bus();
    let mut scoring = begin(&bus, Role::Conducting);
    let Place::Here(scorer) = std::mem::replace(&mut scoring.place, Place::Nowhere) else { panic!() };
    let vote = async move {
        tokio::time::sleep(PAUSE).await;
        Scored { scorer, board: None, took: 10 * LAST }
    };
    scoring.place = Place::Away(tokio::spawn(vote));
    for n in 1..=3 {
        scoring.take(id(n), Candidate::Finished(finished(1, 1.0)));
    }
    let last = scoring.end().await.unwrap();
    assert_eq!((members(&last, "All"), last.ensembles[0].waiting), (3, 0));
    assert_eq!(bus.scoreboard("s").await.unwrap(), Some(last));
}

/// A run that was suspended wakes up after another one has taken its place.
#[tokio::test(start_paused = true)]
async fn scores_of_a_run_that_wakes_up_late_do_not_stay() {
    let bus = bus();
    let mut late = begin(&bus, Role::Conducting);
    until_books_have(&mut late, &bus, |board| board.of("All").is_some()).await;
    let known = late.over;
    let mut now = begin(&bus, Role::Conducting);
    for n in 1..=3 {
        now.take(id(n), Candidate::Finished(finished(1, 1.0)));
    }
    let last = until_books_have(&mut now, &bus, |board| members(board, "All") == 3).await;
    let old = late.board.clone().unwrap();
    assert_eq!(bus.write_scoreboard("s", &old, known).await.unwrap(), None, "it is refused");
    assert_eq!(bus.scoreboard("s").await.unwrap(), Some(last));
    late.conduct(Role::Following);
    assert_eq!(late.end().await, None);
}

#[tokio::test(start_paused = true)]
async fn a_run_that_stores_no_results_scores_nothing() {
    let bus = bus();
    let mut scoring = Scoring::begin(bus.clone(), &plan(vec![all()]), Vec::new(), None, Role::Conducting);
    scoring.take(id(1), Candidate::Finished(finished(1, 1.0)));
    assert_eq!(scoring.end().await, None);
    assert_eq!(bus.scoreboard("s").await.unwrap(), None);
}

#[tokio::test(start_paused = true)]
async fn scores_that_could_not_be_written_are_written_later() {
    let server = MemoryServer::start(0, None, None);
    let bus = server.connect("test").0;
    let mut scoring = begin(&bus, Role::Conducting);
    server.crash();
    let some_time = tokio::time::timeout(LIMIT, scoring.run()).await;
    assert!(some_time.is_err());
    server.restart();
    until_books_have(&mut scoring, &bus, |board| board.of("All").is_some()).await;
}
