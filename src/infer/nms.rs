//! Non-maximum suppression: many boxes on one thing become one.

use super::heads::Candidate;

/// More boxes than this, best first, are not looked at. A picture with a thousand boxes above a sensible
/// score does not exist; a broken model or a score of 0 gives many thousands, at a cost that is square.
const MOST_CANDIDATES: usize = 1000;

/// More detections than this in one picture are not reported.
const MOST_KEPT: usize = 300;

/// Keeps the best box of each heap of boxes of one class that overlap by more than `max_iou`.
/// The result is sorted, best first; equal scores keep their order.
pub(super) fn suppress(mut candidates: Vec<Candidate>, max_iou: f32) -> Vec<Candidate> {
    candidates.sort_by(|a, b| b.score.total_cmp(&a.score));
    candidates.truncate(MOST_CANDIDATES);
    let mut kept: Vec<Candidate> = Vec::new();
    for candidate in candidates {
        let covered =
            |better: &Candidate| better.class == candidate.class && iou(&better.corners, &candidate.corners) > max_iou;
        if !kept.iter().any(covered) {
            kept.push(candidate);
        }
        if kept.len() == MOST_KEPT {
            break;
        }
    }
    kept
}

fn iou(a: &[f32; 4], b: &[f32; 4]) -> f32 {
    let w = a[2].min(b[2]) - a[0].max(b[0]);
    let h = a[3].min(b[3]) - a[1].max(b[1]);
    if w <= 0.0 || h <= 0.0 {
        return 0.0;
    }
    let area = |c: &[f32; 4]| (c[2] - c[0]) * (c[3] - c[1]);
    w * h / (area(a) + area(b) - w * h)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn candidate(class: usize, score: f32, corners: [f32; 4]) -> Candidate {
        Candidate { class, score, corners, row: 0 }
    }

    #[test]
    fn the_best_of_a_heap_stays_and_other_classes_stay_too() {
        let heap = vec![
            candidate(0, 0.5, [1.0, 0.0, 11.0, 10.0]),
            candidate(0, 0.9, [0.0, 0.0, 10.0, 10.0]),
            candidate(1, 0.4, [0.0, 0.0, 10.0, 10.0]),
            candidate(0, 0.6, [100.0, 0.0, 110.0, 10.0]),
        ];
        let kept: Vec<_> = suppress(heap, 0.6).iter().map(|c| (c.class, c.score)).collect();
        assert_eq!(kept, [(0, 0.9), (0, 0.6), (1, 0.4)]);
    }

    #[test]
    fn boxes_that_overlap_just_as_much_as_allowed_both_stay() {
        let halves = vec![candidate(0, 0.9, [0.0, 0.0, 10.0, 10.0]), candidate(0, 0.8, [0.0, 0.0, 10.0, 5.0])];
        assert_eq!(suppress(halves.clone(), 0.5).len(), 2);
        assert_eq!(suppress(halves, 0.49).len(), 1);
    }

    #[test]
    fn a_flood_of_boxes_is_bounded() {
        let flood = (0..20_000).map(|i| candidate(0, 0.5, [i as f32 * 10.0, 0.0, i as f32 * 10.0 + 5.0, 5.0]));
        assert_eq!(suppress(flood.collect(), 0.6).len(), MOST_KEPT);
    }

    proptest! {
        #[test]
        fn no_two_kept_boxes_of_a_class_overlap_and_every_dropped_one_has_a_better_neighbour(
            boxes in prop::collection::vec((0..3usize, 0.0..1f32, 0.0..50f32, 0.0..50f32, 1.0..40f32, 1.0..40f32), 0..60),
            max_iou in 0.1..0.9f32,
        ) {
            let all: Vec<_> = boxes.iter().map(|&(c, s, x, y, w, h)| candidate(c, s, [x, y, x + w, y + h])).collect();
            let kept = suppress(all.clone(), max_iou);
            prop_assert!(kept.windows(2).all(|pair| pair[0].score >= pair[1].score));
            for (i, a) in kept.iter().enumerate() {
                for b in &kept[i + 1..] {
                    prop_assert!(a.class != b.class || iou(&a.corners, &b.corners) <= max_iou);
                }
            }
            for dropped in all.iter().filter(|c| !kept.contains(c)) {
                prop_assert!(kept.iter().any(|k| k.class == dropped.class
                    && k.score >= dropped.score
                    && iou(&k.corners, &dropped.corners) > max_iou));
            }
        }
    }
}
