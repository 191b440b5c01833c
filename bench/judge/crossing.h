// Where two curves of a sweep cross: the point of its numeric axis at which the log ratio of the arms changes its sign.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "bench/judge/stats.h"

namespace crossover {

struct CurvePoint {
  double axis = 0;                      // > 0
  double effect = 0;                    // ln(B / A)
  std::optional<double> standard_error;
  int df = 0;
};

struct Crossing {
  double at = 0;                        // of the axis
  std::optional<double> low, high;      // the interval; absent where it runs beyond that end of the sweep, or without a spread
  bool shown = false;                   // the interval has both ends: on either side of it the arms differ, in opposite directions
  bool b_wins_above = false;            // B is faster beyond it
};

// The effect is taken as linear in ln(axis) from point to point. The interval holds every place at which "no difference" is not
// rejected at `level`: Fieller's theorem (J. R. Statist. Soc. B 16, 1954) for the line between two points, followed over the
// neighbouring ones where it reaches them; t with the smaller df of the two points. Changes of sign inside one such stretch are one
// crossing, the middle one of them; an even number is none: the curves touch. Fewer than two points have none.
std::vector<Crossing> find_crossings(std::vector<CurvePoint> points, double level = 0.05);

// Of one curve: a sweep over several fields has one for each combination of the others.
struct CurveCrossings {
  std::string axis;                     // "prompt_tokens"
  std::string curve;                    // "kv_k=q8_0": the other fields; empty where there are none
  std::vector<Crossing> crossings;
  std::string sentence;                 // for a person, in any case
};

std::string describe_crossings(const std::string& axis, const std::vector<CurvePoint>& points, const std::vector<Crossing>& crossings);

}  // namespace crossover
