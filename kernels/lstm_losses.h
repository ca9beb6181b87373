/* The losses, for C (lstm.c) and CUDA (lstm_head.cu); hpc_lstm/model/losses/ has their formulas and sources.
 *
 * A function takes the outputs for one target, the target, and the loss's constants, writes the derivative with respect
 * to each output, and returns the loss. `count`: outputs for a target. Before the header, LOSS is defined as what stands
 * before such a function, if anything.
 */

#define LEAST_SCALE 1e-4f
#define HALF_LOG_TWO_PI 0.918938533f

#define LOSS_FUNCTION(name) \
    LOSS float loss_##name(const float *outputs, float target, const float *constants, int count, float *gradient)
#define UNUSED (void)constants, (void)count

/* 1 / (1 + e^-x), without overflow. */
LOSS float loss_sigmoid(float x) {
    const float faded = expf(-fabsf(x));
    return (x >= 0 ? 1.0f : faded) / (1.0f + faded);
}

/* log(1 + e^x), without overflow. */
LOSS float loss_softplus(float x) { return fmaxf(x, 0.0f) + log1pf(expf(-fabsf(x))) + 0.0f * x; }

LOSS_FUNCTION(mse) {
    UNUSED;
    const float error = outputs[0] - target;
    gradient[0] = 2 * error;
    return error * error;
}

LOSS_FUNCTION(mae) {
    UNUSED;
    const float error = outputs[0] - target;
    gradient[0] = error > 0 ? 1.0f : error < 0 ? -1.0f : 0.0f * error;
    return fabsf(error);
}

/* constants: delta */
LOSS_FUNCTION(huber) {
    UNUSED;
    const float delta = constants[0], error = outputs[0] - target, size = fabsf(error);
    const float inside = size > delta ? delta : size;
    gradient[0] = error > delta ? delta : error < -delta ? -delta : error;
    return inside * (size - 0.5f * inside);
}

/* constants: the levels */
LOSS_FUNCTION(quantile) {
    float sum = 0;
    for (int i = 0; i < count; i++) {
        const float level = constants[i], error = target - outputs[i];
        gradient[i] = (error > 0 ? -level : error < 0 ? 1.0f - level : 0.0f * error) / count;
        sum += error > 0 ? level * error : (level - 1.0f) * error;
    }
    return sum / count;
}

/* outputs: mean, and scale before softplus */
LOSS_FUNCTION(gaussian) {
    UNUSED;
    const float scale = loss_softplus(outputs[1]) + LEAST_SCALE, z = (target - outputs[0]) / scale;
    gradient[0] = -z / scale;
    gradient[1] = (1.0f - z * z) / scale * loss_sigmoid(outputs[1]);
    return logf(scale) + 0.5f * z * z + HALF_LOG_TWO_PI;
}

/* outputs: location, and scale before softplus; constants: degrees of freedom, what depends on them alone */
LOSS_FUNCTION(student_t) {
    UNUSED;
    const float n = constants[0];
    const float scale = loss_softplus(outputs[1]) + LEAST_SCALE, z = (target - outputs[0]) / scale;
    const float weight = (n + 1.0f) / (n + z * z);
    gradient[0] = -weight * z / scale;
    gradient[1] = (1.0f - weight * z * z) / scale * loss_sigmoid(outputs[1]);
    return logf(scale) + 0.5f * (n + 1.0f) * log1pf(z * z / n) + constants[1];
}

/* outputs: the log odds; target: 0 or 1 */
LOSS_FUNCTION(binary_cross_entropy) {
    UNUSED;
    gradient[0] = loss_sigmoid(outputs[0]) - target;
    return loss_softplus(outputs[0]) - target * outputs[0];
}
