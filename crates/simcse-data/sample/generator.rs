//! Makes the bundled sample from the hand-written templates beside this file. Seeded: the same templates
//! give the same bytes everywhere.
//!
//! A template file holds one domain: slots with their values (`"A|B"`: two names of one value) and intents,
//! each with several forms that mean the same. A meaning is an intent with a value for each of its slots.
//! * Positive pair: one meaning in two forms, each value under any of its names.
//! * Negative pair, in turn: the same form with another value in one slot; another form of the same intent
//!   with another value; another intent of the domain with the same values where the slots agree (the one
//!   with the most characters in common of a few draws); and, twice, any other intent of the domain. The
//!   first three share most of their characters: without them counting characters would be enough, and
//!   with them alone it would be worth less than it is on real data.
//!
//! No sentence (before an opening such as 请问 is put in front) is used twice, within or across the files.

use serde::Deserialize;
use simcse_random::{Stream, uniform_bits};
use std::collections::{BTreeMap, BTreeSet};

const SEED: u64 = 20_210_418;
const SENTENCES_PER_DOMAIN: usize = 340;
/// A multiple of 4: positive and negative, for dev and for test.
const PAIRS_PER_DOMAIN: usize = 100;
/// Draws after which the templates count as used up.
const TRIES: usize = 20_000;
/// Draws of a related intent, of which the most similar one is kept.
const SISTERS: usize = 4;
const NEGATIVES: [Negative; 5] =
    [Negative::SameForm, Negative::OtherForm, Negative::Sister, Negative::Stranger, Negative::Stranger];
const OPENINGS: [&str; 5] = ["请问", "你好，", "麻烦问一下，", "我想问问，", "请教一下，"];
/// A sentence with one of these, and not with one of the beginnings, is a question.
const QUESTION_WORDS: &str =
    "怎 如何 什么 哪 多少 多久 多长时间 吗 几点 几天 几次 几号 能不能 可不可以 行不行";
const NO_QUESTION: &str = "推荐 查一下 想 我想 我要 给我 帮我";
const TEMPLATES: [&str; 12] = [
    include_str!("templates/01_payment.toml"),
    include_str!("templates/02_credit.toml"),
    include_str!("templates/03_phone.toml"),
    include_str!("templates/04_assistant.toml"),
    include_str!("templates/05_travel.toml"),
    include_str!("templates/06_weather.toml"),
    include_str!("templates/07_cooking.toml"),
    include_str!("templates/08_shopping.toml"),
    include_str!("templates/09_health.toml"),
    include_str!("templates/10_school.toml"),
    include_str!("templates/11_leisure.toml"),
    include_str!("templates/12_city.toml"),
];

/// The contents of the sample's files.
pub(crate) struct Sample {
    /// One sentence a line.
    pub(crate) sentences: String,
    /// `first⇥second⇥label` a line.
    pub(crate) dev: String,
    /// As `dev`.
    pub(crate) test: String,
}

/// The whole sample. Fails, in words for the author of templates, when they contradict each other or do not
/// give enough sentences.
pub(crate) fn generate() -> Result<Sample, String> {
    let domains = TEMPLATES.into_iter().map(Domain::read).collect::<Result<Vec<_>, _>>()?;
    let mut used = BTreeSet::new();
    let mut sample = Sample { sentences: String::new(), dev: String::new(), test: String::new() };
    let stream = Stream::from_seed(SEED);
    // Domains take turns, so that any part of a file holds all of them. Pairs first: they are the scarce
    // part, and no training sentence may repeat one.
    let mut draws: Vec<Draws> = domains.iter().map(|domain| Draws::new(stream.named(&domain.name))).collect();
    for number in 0..PAIRS_PER_DOMAIN {
        let file = if number % 4 < 2 { &mut sample.dev } else { &mut sample.test };
        for (domain, draws) in domains.iter().zip(&mut draws) {
            file.push_str(&domain.pair(number, draws, &mut used)?);
        }
    }
    for _ in 0..SENTENCES_PER_DOMAIN {
        for (domain, draws) in domains.iter().zip(&mut draws) {
            sample.sentences.push_str(&domain.sentence(draws, &mut used)?);
        }
    }
    Ok(sample)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Domain {
    name: String,
    /// `request`: a command to an assistant, never asked politely.
    #[serde(default)]
    kind: Kind,
    slots: BTreeMap<String, Vec<String>>,
    intents: Vec<Intent>,
}

#[derive(Deserialize, Default, PartialEq)]
#[serde(rename_all = "snake_case")]
enum Kind {
    #[default]
    Question,
    Request,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Intent {
    name: String,
    forms: Vec<String>,
}

/// How the second sentence of a negative pair is drawn.
#[derive(Clone, Copy)]
enum Negative {
    /// Same form, another value in one slot.
    SameForm,
    /// Another form of the same intent, another value in one slot.
    OtherForm,
    /// Another intent, the same values, many characters in common.
    Sister,
    /// Any other intent of the domain.
    Stranger,
}

/// A meaning in one of its forms; not yet which name of each value.
#[derive(Clone)]
struct Drawn {
    intent: usize,
    form: usize,
    /// Number of the value of each slot.
    values: BTreeMap<String, usize>,
}

impl Domain {
    fn read(text: &str) -> Result<Self, String> {
        let domain: Self = toml::from_str(text).map_err(|error| error.to_string())?;
        for intent in &domain.intents {
            let slots = intent.slots();
            for form in &intent.forms {
                if slots_of(form) != slots || slots.iter().any(|slot| !domain.slots.contains_key(slot)) {
                    return Err(format!(
                        "{}/{}: {form}: slots differ or are unknown",
                        domain.name, intent.name
                    ));
                }
            }
        }
        Ok(domain)
    }

    /// The domain's pair of this number, as a line: even ones are positive.
    fn pair(&self, number: usize, draws: &mut Draws, used: &mut BTreeSet<String>) -> Result<String, String> {
        let kind = NEGATIVES[number / 4 % NEGATIVES.len()];
        let (label, pair) = if number.is_multiple_of(2) {
            (1, self.fresh(draws, used, Self::positive)?)
        } else {
            (0, self.fresh(draws, used, |domain, draws| domain.negative(kind, draws))?)
        };
        let [first, second] = pair.map(|core| self.decorate(core, draws));
        Ok(format!("{first}\t{second}\t{label}\n"))
    }

    /// A training sentence, as a line.
    fn sentence(&self, draws: &mut Draws, used: &mut BTreeSet<String>) -> Result<String, String> {
        let [core] = self.fresh(draws, used, |domain, draws| {
            let drawn = domain.draw(draws);
            Some([domain.say(&drawn, draws)])
        })?;
        Ok(format!("{}\n", self.decorate(core, draws)))
    }

    /// The first draw none of whose sentences was used before.
    fn fresh<const N: usize>(
        &self,
        draws: &mut Draws,
        used: &mut BTreeSet<String>,
        draw: impl Fn(&Self, &mut Draws) -> Option<[String; N]>,
    ) -> Result<[String; N], String> {
        for _ in 0..TRIES {
            let Some(cores) = draw(self, draws) else { continue };
            if cores.iter().all(|core| !used.contains(core)) {
                used.extend(cores.iter().cloned());
                return Ok(cores);
            }
        }
        Err(format!("domain {}: the templates are used up; write more forms or values", self.name))
    }

    fn draw(&self, draws: &mut Draws) -> Drawn {
        let intent = draws.below(self.intents.len());
        let form = draws.below(self.intents[intent].forms.len());
        let mut values = BTreeMap::new();
        for slot in self.intents[intent].slots() {
            let value = draws.below(self.slots[&slot].len());
            values.insert(slot, value);
        }
        Drawn { intent, form, values }
    }

    fn say(&self, drawn: &Drawn, draws: &mut Draws) -> String {
        let mut core = self.intents[drawn.intent].forms[drawn.form].clone();
        for (slot, &value) in &drawn.values {
            let names: Vec<&str> = self.slots[slot][value].split('|').collect();
            core = core.replace(&format!("{{{slot}}}"), names[draws.below(names.len())]);
        }
        core
    }

    /// The same meaning in another form.
    fn rephrased(&self, drawn: &Drawn, draws: &mut Draws) -> Drawn {
        let forms = self.intents[drawn.intent].forms.len();
        Drawn { form: (drawn.form + 1 + draws.below(forms - 1)) % forms, ..drawn.clone() }
    }

    fn positive(&self, draws: &mut Draws) -> Option<[String; 2]> {
        let first = self.draw(draws);
        let second = self.rephrased(&first, draws);
        Some([self.say(&first, draws), self.say(&second, draws)])
    }

    fn negative(&self, kind: Negative, draws: &mut Draws) -> Option<[String; 2]> {
        let first = self.draw(draws);
        let first_core = self.say(&first, draws);
        let second_core = match kind {
            Negative::SameForm => self.say(&self.with_another_value(&first, draws)?, draws),
            Negative::OtherForm => {
                let second = self.with_another_value(&first, draws)?;
                let second = self.rephrased(&second, draws);
                self.say(&second, draws)
            }
            Negative::Sister => self.sister(&first, &first_core, draws)?,
            Negative::Stranger => {
                let second = self.draw(draws);
                if second.intent == first.intent {
                    return None;
                }
                self.say(&second, draws)
            }
        };
        Some([first_core, second_core])
    }

    /// Another value in one slot; `None` for an intent without slots.
    fn with_another_value(&self, drawn: &Drawn, draws: &mut Draws) -> Option<Drawn> {
        let slots: Vec<&String> = drawn.values.keys().collect();
        if slots.is_empty() {
            return None;
        }
        let slot = slots[draws.below(slots.len())];
        let count = self.slots[slot].len();
        let mut other = drawn.clone();
        other.values.insert(slot.clone(), (drawn.values[slot] + 1 + draws.below(count - 1)) % count);
        Some(other)
    }

    /// A sentence of another intent that resembles this one.
    fn sister(&self, drawn: &Drawn, core: &str, draws: &mut Draws) -> Option<String> {
        let mut sisters = Vec::new();
        for _ in 0..SISTERS {
            let mut other = self.draw(draws);
            if other.intent == drawn.intent {
                continue;
            }
            for (slot, value) in &mut other.values {
                *value = *drawn.values.get(slot).unwrap_or(value);
            }
            sisters.push(self.say(&other, draws));
        }
        sisters.into_iter().max_by(|a, b| jaccard(core, a).total_cmp(&jaccard(core, b)))
    }

    /// A question gets a polite opening once in 4 times and a question mark once in 3.
    fn decorate(&self, core: String, draws: &mut Draws) -> String {
        let is_question = self.kind == Kind::Question
            && QUESTION_WORDS.split(' ').any(|word| core.contains(word))
            && !NO_QUESTION.split(' ').any(|word| core.starts_with(word));
        if !is_question {
            return core;
        }
        let opening = if draws.below(4) == 0 { OPENINGS[draws.below(OPENINGS.len())] } else { "" };
        let ending = if draws.below(3) == 0 { "？" } else { "" };
        format!("{opening}{core}{ending}")
    }
}

impl Intent {
    fn slots(&self) -> BTreeSet<String> {
        self.forms.first().map(|form| slots_of(form)).unwrap_or_default()
    }
}

/// The names between braces.
fn slots_of(form: &str) -> BTreeSet<String> {
    form.split('{').skip(1).filter_map(|rest| rest.split_once('}')).map(|(slot, _)| slot.to_owned()).collect()
}

/// Characters in common over characters of either.
pub(crate) fn jaccard(first: &str, second: &str) -> f64 {
    let (first, second): (BTreeSet<char>, BTreeSet<char>) =
        (first.chars().collect(), second.chars().collect());
    first.intersection(&second).count() as f64 / first.union(&second).count().max(1) as f64
}

/// Numbered draws of a stream.
struct Draws {
    key: u64,
    counter: u32,
}

impl Draws {
    fn new(stream: Stream) -> Self {
        Self { key: stream.key(), counter: 0 }
    }

    /// A uniform number below `bound`.
    fn below(&mut self, bound: usize) -> usize {
        self.counter += 1;
        ((u64::from(uniform_bits(self.key, self.counter)) * bound as u64) >> 32) as usize
    }
}
