/// \file
/// CUDA's built-in vectors as structs of the same size, alignment and members.
#pragma once

struct uint3 {
  unsigned x, y, z;
};
struct dim3 {
  unsigned x = 1, y = 1, z = 1;
};

#define QUERN_EMULATED_VECTOR2(name, scalar) \
  struct alignas(2 * sizeof(scalar)) name {  \
    scalar x, y;                             \
  };                                         \
  inline name make_##name(scalar x, scalar y) { return {x, y}; }
#define QUERN_EMULATED_VECTOR4(name, scalar, alignment) \
  struct alignas(alignment) name {                      \
    scalar x, y, z, w;                                  \
  };                                                    \
  inline name make_##name(scalar x, scalar y, scalar z, scalar w) { return {x, y, z, w}; }

QUERN_EMULATED_VECTOR2(char2, signed char)
QUERN_EMULATED_VECTOR2(uchar2, unsigned char)
QUERN_EMULATED_VECTOR2(short2, short)
QUERN_EMULATED_VECTOR2(ushort2, unsigned short)
QUERN_EMULATED_VECTOR2(int2, int)
QUERN_EMULATED_VECTOR2(uint2, unsigned)
QUERN_EMULATED_VECTOR2(float2, float)
QUERN_EMULATED_VECTOR2(double2, double)
QUERN_EMULATED_VECTOR4(char4, signed char, 4)
QUERN_EMULATED_VECTOR4(uchar4, unsigned char, 4)
QUERN_EMULATED_VECTOR4(short4, short, 8)
QUERN_EMULATED_VECTOR4(ushort4, unsigned short, 8)
QUERN_EMULATED_VECTOR4(int4, int, 16)
QUERN_EMULATED_VECTOR4(uint4, unsigned, 16)
QUERN_EMULATED_VECTOR4(float4, float, 16)

#undef QUERN_EMULATED_VECTOR2
#undef QUERN_EMULATED_VECTOR4
