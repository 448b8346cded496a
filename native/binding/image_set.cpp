#include "image_set.h"

#include "handle.h"

namespace seedbed::binding {

const image::PictureSource* pictures_of(const std::shared_ptr<ImageSet>& set) { return set ? set->pictures.get() : nullptr; }

Napi::Value emit_image_set(Napi::Env env, std::shared_ptr<const image::PictureSource> pictures) {
  const int64_t bytes = pictures->bytes();
  return Handle<ImageSet>::make(env, std::make_shared<ImageSet>(ImageSet{std::move(pictures)}), bytes);
}

}  // namespace seedbed::binding
