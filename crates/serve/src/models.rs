//! The engine's thread: a base and its adapters, which take turns.

use std::{
    collections::BTreeMap,
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    sync::{Mutex, PoisonError},
    time::{SystemTime, UNIX_EPOCH},
};

use reft_rollout::{Event, Load, RolloutError, Room, ServingEngine};
use reft_vlm::Vlm;

use crate::{
    desk::{Command, Desk, Turn, Work},
    error::{ApiError, ServeError},
};

/// A model as `/v1/models` tells of it.
#[derive(Clone, Debug)]
pub(crate) struct Card {
    pub(crate) name: String,
    /// Seconds since 1970.
    pub(crate) created: u64,
    /// The base of an adapter.
    pub(crate) parent: Option<String>,
}

/// The models that there are, for all threads: the base first.
#[derive(Default)]
pub(crate) struct Cards(Mutex<Vec<Card>>);

impl Cards {
    pub(crate) fn all(&self) -> Vec<Card> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The name of the base for a request that names none.
    pub(crate) fn named(&self, name: Option<&str>) -> Result<String, ApiError> {
        let cards = self.all();
        let found = cards.iter().find(|card| name.is_none_or(|name| card.name == name));
        let found = found.map(|card| card.name.clone());
        found.ok_or_else(|| ApiError::NoModel(name.unwrap_or_default().to_owned()))
    }

    fn add(&self, name: &str, parent: Option<&str>) {
        let mut cards = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let created = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs());
        cards.retain(|card| card.name != name);
        cards.push(Card { name: name.to_owned(), created, parent: parent.map(str::to_owned) });
    }

    fn remove(&self, name: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).retain(|card| card.name != name);
    }
}

/// The models.
pub(crate) struct Models<'a> {
    base_name: String,
    base: Vlm,
    adapters: BTreeMap<String, Vlm>,
    room: Room,
    cards: &'a Cards,
}

impl<'a> Models<'a> {
    pub(crate) fn new(name: &str, base: Vlm, room: Room, cards: &'a Cards) -> Self {
        cards.add(name, None);
        Self { base_name: name.to_owned(), base, adapters: BTreeMap::new(), room, cards }
    }

    /// Adds an adapter, in place of one of that name.
    pub(crate) fn load(&mut self, name: &str, dir: &Path) -> Result<(), ServeError> {
        if name == self.base_name {
            return Err(ServeError::Name(name.to_owned()));
        }
        self.adapters.insert(name.to_owned(), self.base.with_adapter(dir)?);
        self.cards.add(name, Some(&self.base_name));
        Ok(())
    }

    /// Answers until the desk is closed. `log` hears what no request can be told.
    pub(crate) fn answer(mut self, desk: &Desk, log: &dyn Fn(&str)) {
        loop {
            match desk.work() {
                Work::End => return,
                Work::Obey(command) => self.obey(command),
                Work::Answer(model) => self.turn(&model, desk, log),
            }
        }
    }

    fn obey(&mut self, command: Command) {
        // Whoever asked may have left.
        let _ = match command {
            Command::Load { name, dir, done } => {
                done.send(self.load(&name, &dir).map_err(|error| ApiError::invalid(error.to_string())))
            }
            Command::Unload { name, done } => {
                let removed = self.adapters.remove(&name).map(|_| self.cards.remove(&name));
                done.send(removed.ok_or_else(|| {
                    ApiError::param(
                        "lora_name",
                        format!("no adapter `{name}` is loaded; `/v1/models` lists them"),
                    )
                }))
            }
        };
    }

    fn turn(&mut self, model: &str, desk: &Desk, log: &dyn Fn(&str)) {
        let policy = if model == self.base_name { Some(&self.base) } else { self.adapters.get(model) };
        let Some(policy) = policy else {
            // It was there when they asked.
            for mut job in desk.take_all(model) {
                let what = format!("model `{model}`, which was unloaded,");
                (job.request.listener)(Event::Failed(RolloutError::Gone { what }));
            }
            return;
        };
        let engine = ServingEngine::new(policy, self.room);
        let mut turn = Turn { desk, model, counted: Load::default() };
        // Requests that were being answered hear no end, which tells them.
        if catch_unwind(AssertUnwindSafe(|| engine.run(policy, &mut turn))).is_err() {
            log("the engine has failed; what it was answering is lost, and it begins anew");
        }
        desk.metrics.running.set(0);
    }
}
