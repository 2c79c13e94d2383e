# equal, with neutral random numbers: a Wasserstein network whose critic is trained more often, with a gradient penalty
import keras
import numpy as np
import tensorflow as tf
from keras import layers

real = np.random.default_rng(3).normal(size=(18, 6))
critic = keras.Sequential([keras.Input((6,)), layers.Dense(8, activation="tanh"), layers.Dense(1)])
generator = keras.Sequential(
    [
        keras.Input((3,)),
        layers.Dense(8, use_bias=False),
        layers.BatchNormalization(),
        layers.Activation("tanh"),
        layers.Dense(6),
    ]
)


class WGAN(keras.Model):
    def __init__(self, discriminator, generator, latent_dim, discriminator_extra_steps=2, gp_weight=10.0):
        super().__init__()
        self.discriminator, self.generator, self.latent_dim = discriminator, generator, latent_dim
        self.d_steps, self.gp_weight = discriminator_extra_steps, gp_weight

    def compile(self, d_optimizer, g_optimizer, d_loss_fn, g_loss_fn):
        super().compile()
        self.d_optimizer, self.g_optimizer = d_optimizer, g_optimizer
        self.d_loss_fn, self.g_loss_fn = d_loss_fn, g_loss_fn

    def gradient_penalty(self, batch_size, real_images, fake_images):
        alpha = tf.random.uniform([batch_size, 1], 0.0, 1.0, dtype=fake_images.dtype)
        interpolated = real_images + alpha * (fake_images - real_images)
        with tf.GradientTape() as gp_tape:
            gp_tape.watch(interpolated)
            pred = self.discriminator(interpolated, training=True)
        grads = gp_tape.gradient(pred, [interpolated])[0]
        norm = tf.sqrt(tf.reduce_sum(tf.square(grads), axis=[1]))
        return tf.reduce_mean((norm - 1.0) ** 2)

    def train_step(self, real_images):
        real_images = tf.cast(real_images, keras.config.floatx())
        batch_size = tf.shape(real_images)[0]
        for _ in range(self.d_steps):
            latent = tf.random.normal(shape=(batch_size, self.latent_dim), dtype=real_images.dtype)
            with tf.GradientTape() as tape:
                fake_images = self.generator(latent, training=True)
                fake = self.discriminator(fake_images, training=True)
                cost = self.d_loss_fn(self.discriminator(real_images, training=True), fake)
                d_loss = cost + self.gp_weight * self.gradient_penalty(batch_size, real_images, fake_images)
            d_gradient = tape.gradient(d_loss, self.discriminator.trainable_variables)
            self.d_optimizer.apply_gradients(zip(d_gradient, self.discriminator.trainable_variables, strict=True))
        latent = tf.random.normal(shape=(batch_size, self.latent_dim), dtype=real_images.dtype)
        with tf.GradientTape() as tape:
            g_loss = self.g_loss_fn(self.discriminator(self.generator(latent, training=True), training=True))
        gen_gradient = tape.gradient(g_loss, self.generator.trainable_variables)
        self.g_optimizer.apply_gradients(zip(gen_gradient, self.generator.trainable_variables, strict=True))
        return {"d_loss": d_loss, "g_loss": g_loss}


wgan = WGAN(discriminator=critic, generator=generator, latent_dim=3)
wgan.compile(
    d_optimizer=keras.optimizers.Adam(0.0002, beta_1=0.5, beta_2=0.9),
    g_optimizer=keras.optimizers.Adam(0.0002, beta_1=0.5, beta_2=0.9),
    d_loss_fn=lambda real, fake: tf.reduce_mean(fake) - tf.reduce_mean(real),
    g_loss_fn=lambda fake: -tf.reduce_mean(fake),
)
history = wgan.fit(real, batch_size=9, epochs=1, verbose=0)
