#pragma once

#include "fields.h"
#include "fractal/contour.h"
#include "fractal/instances.h"
#include "fractal/picture.h"
#include "fractal/pictures.h"
#include "fractal/search.h"

// Options of the fractal family by name: FractalDB, OFDB, RCDB, VisualAtom, and of single pictures.

namespace seedbed::binding {

fractal::SearchOptions parse_search_options(const Fields& fields);
// Empty when there are none.
std::vector<fractal::Flip> parse_flips(const Fields& fields);
fractal::PicturesOptions parse_pictures_options(const Fields& fields);
fractal::ContourSet parse_contour_set(const Fields& fields);
std::vector<fractal::ContourClass> parse_contour_classes(const Fields& fields);
fractal::ContourOptions parse_contour_options(const Fields& fields);
fractal::PictureOptions parse_fractal_picture_options(const Fields& fields);

std::string contour_set_name(fractal::ContourSet set);

void add_family_enum_names(Napi::Env env, Napi::Object enums);

}  // namespace seedbed::binding
