#include "family_options.h"

#include "names.h"
#include "options.h"

namespace seedbed::binding {

namespace {

using namespace fractal;

constexpr Names<Flip, 4> kFlip{{{"none", Flip::none}, {"horizontal", Flip::horizontal}, {"vertical", Flip::vertical}, {"both", Flip::both}}};
constexpr Names<Storage, 3> kStorage{{{"resident", Storage::resident}, {"onDemand", Storage::on_demand}, {"fresh", Storage::fresh}}};
constexpr Names<ContourSet, 2> kContourSet{{{"rcdb", ContourSet::rcdb}, {"visualatom", ContourSet::visualatom}}};
constexpr Names<Tone, 2> kTone{{{"log", Tone::log}, {"gamma", Tone::gamma}}};
constexpr Names<ColourBy, 2> kColourBy{{{"density", ColourBy::density}, {"map", ColourBy::map}}};

ContourClass parse_contour_class(const Fields& fields) {
  ContourClass c{.set = parse_contour_set(fields)};
  std::vector<int64_t> frequencies;
  fields.read("vertices", c.vertices).read("lines", c.lines).read("coefficient", c.coefficient).read("width", c.width).read("seed", c.seed);
  fields.read("frequencies", frequencies);
  if (frequencies.empty()) return c;
  expect(frequencies.size() == 2, "Expected 2 numbers for {}, received {}", fields.path_of("frequencies"), frequencies.size());
  c.frequency_1 = static_cast<int>(frequencies[0]);
  c.frequency_2 = static_cast<int>(frequencies[1]);
  return c;
}

// Colours as numbers 0xRRGGBB.
std::vector<Rgb> parse_palette(const Fields& fields, std::vector<Rgb> palette) {
  std::vector<int64_t> colours;
  fields.read("palette", colours);
  if (!colours.empty()) palette.clear();
  for (const int64_t c : colours) palette.push_back({static_cast<uint8_t>(c >> 16), static_cast<uint8_t>(c >> 8), static_cast<uint8_t>(c)});
  return palette;
}

}  // namespace

SearchOptions parse_search_options(const Fields& fields) {
  SearchOptions o{.render = parse_render_options(fields)};
  fields.read("count", o.count).read("min_maps", o.min_maps).read("max_maps", o.max_maps).read("fill_threshold", o.fill_threshold);
  fields.read("max_tries", o.max_tries).read("seed", o.seed);
  return o;
}

std::vector<Flip> parse_flips(const Fields& fields) {
  std::vector<std::string> texts;
  fields.read("flips", texts);
  std::vector<Flip> flips;
  for (const std::string& text : texts) {
    const auto* row = std::ranges::find(kFlip, text, [](const auto& known) { return known.first; });
    expect(row != kFlip.end(), "Unknown value '{}' for {}", text, fields.path_of("flips"));
    flips.push_back(row->second);
  }
  return flips;
}

PicturesOptions parse_pictures_options(const Fields& fields) {
  PicturesOptions o{.render = parse_render_options(fields)};
  fields.read("storage", names(kStorage), o.storage).read("fresh_delta", o.fresh_delta);
  return o;
}

ContourSet parse_contour_set(const Fields& fields) {
  ContourSet set = ContourSet::rcdb;
  fields.read("set", names(kContourSet), set);
  return set;
}

std::vector<ContourClass> parse_contour_classes(const Fields& fields) {
  std::vector<ContourClass> classes;
  for (const Fields& row : fields.objects("classes")) classes.push_back(parse_contour_class(row));
  return classes;
}

ContourOptions parse_contour_options(const Fields& fields) {
  ContourOptions o;
  fields.read("size", o.size).read("first_instance", o.first_instance).read("instances", o.instances);
  return o;
}

PictureOptions parse_fractal_picture_options(const Fields& fields) {
  PictureOptions o;
  fields.read("size", o.size).read("points", o.points).read("supersample", o.supersample).read("margin", o.margin).read("seed", o.seed).read("memory", o.memory);
  o.aspect = parse_render_options(fields).aspect;
  if (!fields.optional("aspect")) o.aspect = Aspect::keep;
  fields.read("colour_by", names(kColourBy), o.colour_by);
  o.palette = parse_palette(fields, o.palette);
  if (const auto tone = fields.object("tone")) tone->read("type", names(kTone), o.tone).read("range", o.range).read("gamma", o.gamma);
  return o;
}

std::string contour_set_name(ContourSet set) {
  for (const auto& [name, value] : kContourSet)
    if (value == set) return std::string(name);
  fail(ErrorCode::internal, "Unknown set of contours {}", static_cast<int>(set));
}

void add_family_enum_names(Napi::Env env, Napi::Object enums) {
  enums.Set("flip", emit_names(env, kFlip));
  enums.Set("storage", emit_names(env, kStorage));
  enums.Set("contourSet", emit_names(env, kContourSet));
  enums.Set("tone", emit_names(env, kTone));
  enums.Set("colourBy", emit_names(env, kColourBy));
}

}  // namespace seedbed::binding
