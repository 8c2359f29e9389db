//! The numbers of both profiles.

use super::{
    Calm, Churn, Fast, Growing, GrowthCriteria, Idle, Naming, Program, Shape, Stuck, Survival, Thresholds,
};
use crate::engine::Profile;

impl Thresholds {
    /// Those of a profile.
    #[must_use]
    pub fn of(profile: Profile) -> Self {
        match profile {
            Profile::Session => Self::SESSION,
            Profile::Production => Self::PRODUCTION,
        }
    }

    const PRODUCTION: Self = Self {
        abandoned: GrowthCriteria {
            survivors: 10.0,
            life_min_s: 120.0,
            life_ages: 6.0,
            pool_share: 0.001,
            eaten_share: 0.03,
            partial_span_s: 60.0,
            total_span_s: 600.0,
            slow_survivors: 10.0,
            slow_span_s: 720.0,
            fast_span_s: 6,
            fast_pool_share: 0.0032,
        },
        unknown: CAREFUL,
        mixed: CAREFUL,
        in_use_pool_share: 0.25,
        suspected_share: 0.5,
        close_wait: Stuck { suspected: 5, suspected_age_s: 30, leak: 5, leak_age_s: 40 },
        syn_sent: Stuck { suspected: 5, suspected_age_s: 135, leak: 5, leak_age_s: 150 },
        bound: Stuck { suspected: 5, suspected_age_s: 60, leak: 8, leak_age_s: 60 },
        syn_span_s: 180.0,
        calm_span_s: 60,
        calm: Calm { leak_factor: 4, growth_share: 0.5, growth_max_s: 1_800, healed_share: 0.5 },
        survival: Survival {
            age_min_s: 4.6,
            age_max_s: 1_000.0,
            survivors_min: 3.0,
            life_ages_min: 3.0,
            ended_share: 0.1,
            slow_ended_share: 0.02,
            confidence_z: 2.326,
            memory_s: 3_600.0,
        },
        shape: Shape {
            span_min_s: 8.0,
            stuck_span_s: 15.0,
            span_step: 1.3,
            even_share: 0.25,
            two_parts_from: 3.0,
            three_parts_from: 8.0,
            four_parts_from: 12.0,
            gaps_max: 4.0,
            pause_gaps: 3.0,
            pause_min_s: 5.0,
        },
        growing: Growing {
            net: 15,
            span_s: 3,
            seconds_min: 2,
            slow_net: 10,
            slow_span_s: 30,
            slow_seconds_min: 5,
            kept_share: 0.2,
            calm_s: 5,
            rate_span_s: 30,
        },
        fast: Fast { released_share: 0.05, pauses_max: 1, query_early_s: 2 },
        idle: Idle {
            sample: 16,
            answer_s: 2,
            answers_min: 3,
            abandoned_age_share: 0.75,
            abandoned_share: 0.8,
            in_use_share: 0.5,
            repeat_share: 0.125,
            repeat_max_s: 60,
        },
        churn: Churn { used_share: 0.8, time_wait_share: 0.5 },
        naming: Naming { slow_rate_per_s: 0.05, deaths_known: 30.0, bound_share: 0.9, dominant_share: 0.8 },
        program: Program { processes_min: 4, busiest_share: 0.5 },
        forecast_confidence_z: 1.645,
    };

    const SESSION: Self = Self {
        abandoned: GrowthCriteria {
            life_min_s: 100.0,
            eaten_share: 0.02,
            partial_span_s: 40.0,
            total_span_s: 220.0,
            slow_survivors: 4.0,
            slow_span_s: 220.0,
            ..Self::PRODUCTION.abandoned
        },
        unknown: GrowthCriteria {
            survivors: 10.0,
            life_min_s: 120.0,
            life_ages: 15.0,
            pool_share: 0.01,
            eaten_share: 0.02,
            partial_span_s: 60.0,
            total_span_s: 120.0,
            slow_survivors: 8.0,
            slow_span_s: 450.0,
            fast_span_s: 6,
            fast_pool_share: 0.0032,
        },
        close_wait: Stuck { suspected: 3, suspected_age_s: 20, leak: 5, leak_age_s: 35 },
        bound: Stuck { suspected: 3, suspected_age_s: 30, leak: 5, leak_age_s: 40 },
        calm_span_s: 15,
        ..Self::PRODUCTION
    };
}

const CAREFUL: GrowthCriteria = GrowthCriteria {
    survivors: 20.0,
    life_min_s: 600.0,
    life_ages: 15.0,
    pool_share: 0.5,
    eaten_share: 0.10,
    partial_span_s: 600.0,
    total_span_s: 1_200.0,
    slow_survivors: 20.0,
    slow_span_s: 1_800.0,
    fast_span_s: 60,
    fast_pool_share: 0.035,
};
