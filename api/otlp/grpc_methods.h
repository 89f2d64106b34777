/* What the gRPC servers offer: OTLP's Export calls, Jaeger's query service, health checks. */
#ifndef KS_API_OTLP_GRPC_METHODS_H
#define KS_API_OTLP_GRPC_METHODS_H

#include "api/grpc.h"

extern const struct ks_grpc_method ks_grpc_otlp_methods[];
extern const size_t ks_grpc_otlp_method_count;

/* grpc.health.v1.Health/Check. */
ks_err ks_grpc_health_check(struct ks_grpc_call *call);

#endif
