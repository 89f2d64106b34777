/*
 * Jaeger's query service over gRPC: jaeger.api_v2.QueryService and jaeger.api_v3.QueryService, for
 * -jaeger.grpcListenAddr. Read only; streams are cut as Jaeger cuts them.
 */
#ifndef KS_API_JAEGER_RPC_H
#define KS_API_JAEGER_RPC_H

#include "api/grpc.h"

extern const struct ks_grpc_method ks_jaeger_grpc_methods[];
extern const size_t ks_jaeger_grpc_method_count;

#endif
